"""The shapes of the custom resources' specs, as far as workloads use them; see `structural` for the notation.

What is not listed is unknown to the simulated server, as it is to a real one with older definitions.
"""

_TEXTS, _PAIRS = ["string"], {"*": "string"}
_MATCH = {"exact": "string", "prefix": "string", "regex": "string"}
_DESTINATION = {"host!": "string", "subset": "string", "port": {"number": "integer"}}
_PERCENTAGE = {"value": "number"}
_TLS_VERSIONS = "TLS_AUTO|TLSV1_0|TLSV1_1|TLSV1_2|TLSV1_3"

_VIRTUAL_SERVICE = {
    "hosts": _TEXTS,
    "gateways": _TEXTS,
    "exportTo": _TEXTS,
    "tcp": "any",
    "tls": "any",
    "http": [
        {
            "name": "string",
            "match": [
                {
                    "name": "string",
                    "uri": _MATCH,
                    "scheme": _MATCH,
                    "method": _MATCH,
                    "authority": _MATCH,
                    "headers": {"*": _MATCH},
                    "withoutHeaders": {"*": _MATCH},
                    "queryParams": {"*": _MATCH},
                    "port": "integer",
                    "sourceLabels": _PAIRS,
                    "sourceNamespace": "string",
                    "gateways": _TEXTS,
                    "ignoreUriCase": "boolean",
                    "statPrefix": "string",
                }
            ],
            "route": [{"destination!": _DESTINATION, "weight": "integer", "headers": "any"}],
            "redirect": "any",
            "directResponse": "any",
            "delegate": "any",
            "rewrite": {"uri": "string", "authority": "string", "uriRegexRewrite": "any"},
            "timeout": "string",
            "retries": {
                "attempts": "integer",
                "perTryTimeout": "string",
                "retryOn": "string",
                "retryRemoteLocalities": "boolean",
                "retryIgnorePreviousHosts": "boolean",
                "backoff": "string",
            },
            "fault": {
                "delay": {
                    "fixedDelay": "string",
                    "exponentialDelay": "string",
                    "percent": "integer",
                    "percentage": _PERCENTAGE,
                },
                "abort": {
                    "httpStatus": "integer",
                    "grpcStatus": "string",
                    "http2Error": "string",
                    "percentage": _PERCENTAGE,
                },
            },
            "mirror": _DESTINATION,
            "mirrorPercentage": _PERCENTAGE,
            "mirrors": "any",
            "corsPolicy": "any",
            "headers": "any",
        }
    ],
}
_TRAFFIC_POLICY = {
    "loadBalancer": "any",
    "connectionPool": {
        "tcp": "any",
        "http": {
            "http1MaxPendingRequests": "integer",
            "http2MaxRequests": "integer",
            "maxRequestsPerConnection": "integer",
            "maxRetries": "integer",
            "idleTimeout": "string",
            "h2UpgradePolicy": "DEFAULT|DO_NOT_UPGRADE|UPGRADE",
            "useClientProtocol": "boolean",
            "maxConcurrentStreams": "integer",
        },
    },
    "outlierDetection": {
        "splitExternalLocalOriginErrors": "boolean",
        "consecutiveLocalOriginFailures": "integer",
        "consecutiveGatewayErrors": "integer",
        "consecutive5xxErrors": "integer",
        "interval": "string",
        "baseEjectionTime": "string",
        "maxEjectionPercent": "integer",
        "minHealthPercent": "integer",
    },
    "tls": {
        "mode": "DISABLE|SIMPLE|MUTUAL|ISTIO_MUTUAL",
        "clientCertificate": "string",
        "privateKey": "string",
        "caCertificates": "string",
        "caCrl": "string",
        "credentialName": "string",
        "subjectAltNames": _TEXTS,
        "sni": "string",
        "insecureSkipVerify": "boolean",
    },
    "portLevelSettings": "any",
    "tunnel": "any",
    "proxyProtocol": "any",
}
_DESTINATION_RULE = {
    "host!": "string",
    "trafficPolicy": _TRAFFIC_POLICY,
    "subsets": [{"name!": "string", "labels": _PAIRS, "trafficPolicy": _TRAFFIC_POLICY}],
    "exportTo": _TEXTS,
    "workloadSelector": "any",
}
_ISTIO_GATEWAY = {
    "selector": _PAIRS,
    "servers": [
        {
            "name": "string",
            "bind": "string",
            "defaultEndpoint": "string",
            "hosts!": _TEXTS,
            "port!": {
                "number!": "integer",
                "name!": "string",
                "protocol!": "string",
                "targetPort": "integer",
            },
            "tls": {
                "httpsRedirect": "boolean",
                "mode": "PASSTHROUGH|SIMPLE|MUTUAL|AUTO_PASSTHROUGH|ISTIO_MUTUAL|OPTIONAL_MUTUAL",
                "serverCertificate": "string",
                "privateKey": "string",
                "caCertificates": "string",
                "credentialName": "string",
                "subjectAltNames": _TEXTS,
                "minProtocolVersion": _TLS_VERSIONS,
                "maxProtocolVersion": _TLS_VERSIONS,
                "cipherSuites": _TEXTS,
            },
        }
    ],
}

_ANY_PATH = {"path": {"type": "PathPrefix", "value": "/"}}
_HTTP_ROUTE = {
    "parentRefs": [
        {
            "group": "string=gateway.networking.k8s.io",
            "kind": "string=Gateway",
            "namespace": "string",
            "name!": "string",
            "sectionName": "string",
            "port": "integer",
        }
    ],
    "hostnames": _TEXTS,
    "rules": [
        {
            "name": "string",
            "matches": [
                {
                    "path": {
                        "type": "Exact|PathPrefix|RegularExpression=PathPrefix",
                        "value": "string=/",
                        "=": _ANY_PATH["path"],
                    },
                    "headers": (
                        "map",
                        "name",
                        {"type": "string=Exact", "name!": "string", "value!": "string"},
                    ),
                    "queryParams": (
                        "map",
                        "name",
                        {"type": "string=Exact", "name!": "string", "value!": "string"},
                    ),
                    "method": "GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH",
                }
            ],
            "filters": [
                {
                    "type!": "RequestHeaderModifier|ResponseHeaderModifier|RequestMirror|RequestRedirect"
                    "|URLRewrite|ExtensionRef|CORS",
                    "requestHeaderModifier": "any",
                    "responseHeaderModifier": "any",
                    "requestMirror": "any",
                    "requestRedirect": {
                        "scheme": "http|https",
                        "hostname": "string",
                        "path": "any",
                        "port": "integer",
                        "statusCode": "integer=302",
                    },
                    "urlRewrite": "any",
                    "extensionRef": "any",
                }
            ],
            "backendRefs": [
                {
                    "group": "string=",
                    "kind": "string=Service",
                    "name!": "string",
                    "namespace": "string",
                    "port": "integer",
                    "weight": "integer=1",
                    "filters": "any",
                }
            ],
            "timeouts": {"request": "string", "backendRequest": "string"},
        }
    ],
}
_GATEWAY = {
    "gatewayClassName!": "string",
    "listeners!": (
        "map",
        "name",
        {
            "name!": "string",
            "hostname": "string",
            "port!": "integer",
            "protocol!": "string",
            "tls": {
                "mode": "Terminate|Passthrough=Terminate",
                "certificateRefs": [
                    {"group": "string=", "kind": "string=Secret", "name!": "string", "namespace": "string"}
                ],
                "options": _PAIRS,
            },
            "allowedRoutes": {
                "namespaces": {
                    "from": "All|Selector|Same|None=Same",
                    "selector": "any",
                    "=": {"from": "Same"},
                },
                "kinds": "any",
                "=": {"namespaces": {"from": "Same"}},
            },
        },
    ),
    "addresses": "any",
    "infrastructure": "any",
}

_ENDPOINT = {
    "port": "string",
    "targetPort": "int-or-string",
    "path": "string",
    "scheme": "string",
    "params": "any",
    "interval": "string",
    "scrapeTimeout": "string",
    "tlsConfig": "any",
    "authorization": "any",
    "bearerTokenSecret": "any",
    "basicAuth": "any",
    "oauth2": "any",
    "honorLabels": "boolean",
    "honorTimestamps": "boolean",
    "metricRelabelings": "any",
    "relabelings": "any",
    "followRedirects": "boolean",
    "enableHttp2": "boolean",
    "filterRunning": "boolean",
}
_SCRAPED = {
    "jobLabel": "string",
    "podTargetLabels": _TEXTS,
    "selector!": "any",
    "namespaceSelector": {"any": "boolean", "matchNames": _TEXTS},
    "sampleLimit": "integer",
    "targetLimit": "integer",
    "labelLimit": "integer",
    "attachMetadata": "any",
    "scrapeClass": "string",
}
_RULES = {
    "groups": (
        "map",
        "name",
        {
            "name!": "string",
            "interval": "string",
            "limit": "integer",
            "labels": _PAIRS,
            "query_offset": "string",
            "partial_response_strategy": "string",
            "rules": [
                {
                    "record": "string",
                    "alert": "string",
                    "expr!": "int-or-string",
                    "for": "string",
                    "keep_firing_for": "string",
                    "labels": _PAIRS,
                    "annotations": _PAIRS,
                }
            ],
        },
    )
}
_CERTIFICATE = {
    "secretName!": "string",
    "issuerRef!": {"name!": "string", "kind": "string", "group": "string"},
    "dnsNames": _TEXTS,
    "commonName": "string",
    "duration": "string",
    "renewBefore": "string",
    "privateKey": "any",
    "usages": _TEXTS,
    "ipAddresses": _TEXTS,
    "uris": _TEXTS,
    "isCA": "boolean",
    "subject": "any",
    "secretTemplate": "any",
    "revisionHistoryLimit": "integer",
}
_INIT = {
    "database": "string",
    "owner": "string",
    "secret": {"name!": "string"},
    "dataChecksums": "boolean",
    "encoding": "string",
    "locale": "string",
    "localeCollate": "string",
    "localeCType": "string",
    "localeProvider": "string",
    "options": _TEXTS,
    "walSegmentSize": "integer",
    "postInitSQL": _TEXTS,
    "postInitApplicationSQL": _TEXTS,
    "postInitTemplateSQL": _TEXTS,
    "import": "any",
}
_DATABASE = {
    "...": True,
    "instances!": "integer=1",
    "imageName": "string",
    "enableSuperuserAccess": "boolean=false",
    "enablePDB": "boolean=true",
    "storage": {
        "size": "string",
        "storageClass": "string",
        "resizeInUseVolumes": "boolean=true",
        "pvcTemplate": "any",
    },
    "postgresql": {"...": True, "parameters": _PAIRS, "pg_hba": _TEXTS, "shared_preload_libraries": _TEXTS},
    "bootstrap": {"initdb": _INIT, "recovery": "any", "pg_basebackup": "any"},
    "affinity": {
        "...": True,
        "enablePodAntiAffinity": "boolean",
        "topologyKey": "string",
        "podAntiAffinityType": "string",
        "nodeSelector": _PAIRS,
    },
    "maxSyncReplicas": "integer=0",
    "minSyncReplicas": "integer=0",
    "primaryUpdateStrategy": "unsupervised|supervised=unsupervised",
    "primaryUpdateMethod": "switchover|restart=restart",
    "logLevel": "error|warning|info|debug|trace=info",
    "startDelay": "integer=3600",
    "stopDelay": "integer=1800",
    "failoverDelay": "integer=0",
}
_SCHEDULED_BACKUP = {
    "schedule!": "string",
    "cluster!": {"name!": "string"},
    "suspend": "boolean",
    "immediate": "boolean",
    "backupOwnerReference": "none|self|cluster=none",
    "method": "barmanObjectStore|volumeSnapshot|plugin=barmanObjectStore",
    "target": "primary|prefer-standby",
    "pluginConfiguration": "any",
    "online": "boolean",
    "onlineConfiguration": "any",
}

# (group, kind) of those that have one; the others take anything in their spec.
SHAPES = {
    ("networking.istio.io", "VirtualService"): _VIRTUAL_SERVICE,
    ("networking.istio.io", "DestinationRule"): _DESTINATION_RULE,
    ("networking.istio.io", "Gateway"): _ISTIO_GATEWAY,
    ("gateway.networking.k8s.io", "HTTPRoute"): _HTTP_ROUTE,
    ("gateway.networking.k8s.io", "Gateway"): _GATEWAY,
    ("monitoring.coreos.com", "ServiceMonitor"): {
        **_SCRAPED,
        "endpoints!": [_ENDPOINT],
        "targetLabels": _TEXTS,
    },
    ("monitoring.coreos.com", "PodMonitor"): {**_SCRAPED, "podMetricsEndpoints": [_ENDPOINT]},
    ("monitoring.coreos.com", "PrometheusRule"): _RULES,
    ("cert-manager.io", "Certificate"): _CERTIFICATE,
    ("postgresql.cnpg.io", "Cluster"): _DATABASE,
    ("postgresql.cnpg.io", "ScheduledBackup"): _SCHEDULED_BACKUP,
}
