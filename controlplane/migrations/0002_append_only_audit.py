"""The audit log cannot be changed through this database's ordinary statements.

The test runner empties tables between tests, so databases it made (`test_...`) may truncate.
"""

from django.db import migrations

FORWARD = """
CREATE FUNCTION controlplane_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' AND current_database() LIKE 'test\\_%' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON controlplane_auditentry
    FOR EACH ROW EXECUTE FUNCTION controlplane_audit_append_only();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON controlplane_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION controlplane_audit_append_only();
"""
BACKWARD = """
DROP TRIGGER audit_no_truncate ON controlplane_auditentry;
DROP TRIGGER audit_append_only ON controlplane_auditentry;
DROP FUNCTION controlplane_audit_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("controlplane", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
