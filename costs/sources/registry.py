"""Every kind of source, by its name in `costs.models.SourceKind`."""

from costs.models import SourceKind
from costs.sources.aws.sources import CostExplorerSource, S3Export
from costs.sources.azure.sources import BlobExport, CostManagementSource
from costs.sources.gcp.sources import BigQueryExport, BillingExport, GcsExport

SOURCES = {
    SourceKind.S3: S3Export,
    SourceKind.BLOB: BlobExport,
    SourceKind.GCS: GcsExport,
    SourceKind.BIGQUERY: BigQueryExport,
    SourceKind.COST_EXPLORER: CostExplorerSource,
    SourceKind.COST_MANAGEMENT: CostManagementSource,
    SourceKind.GCP_BILLING: BillingExport,
}
