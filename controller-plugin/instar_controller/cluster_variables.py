"""Every variable that `instar invoker` and `instar dispatcher` read: one table, from which the options of the command
line and the documentation are made.

One rule: where the stock invoker has a name for something, it is that name, with its meaning and its default; ours
are called `INSTAR_…`. OpenWhisk's other sources of configuration (`OPENWHISK_CONFIG`, `OPENWHISK_ENCODED_CONFIG`,
Java's `-D` options) are not read.
"""

from __future__ import annotations

from instar_controller.configured import (
    Between,
    Matching,
    OneOf,
    duration_ms,
    duration_s,
    ensemble,
    hosts,
    interval_s,
    listening,
    number,
    path,
    port,
    seconds,
    server_port,
    size_bytes,
    size_mb,
    some_mb,
    text,
    truth,
)
from instar_controller.variables import Program, Variable
from instar_controller.whisk import store_level

INVOKER, DISPATCHER = (Program.INVOKER,), (Program.DISPATCHER,)
EVERY = tuple(Program)
DOCKER, PROCESS = "docker", "process"
FROM_NAME = "from-name"
KAFKA_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
TEXT, JSON = "text", "json"

# Kafka's topics have 249 characters at most, and ours end in a node's name.
_topic = Matching(r"[a-zA-Z0-9._-]{0,130}", "at most 130 letters, digits, '.', '_' and '-', as in a topic's name")
_name = Matching(r"[a-zA-Z0-9._-]{1,100}", "at most 100 letters, digits, '.', '_' and '-'")
_registry = Matching(
    r"(?!.*://)[A-Za-z0-9._:/\[\]-]*", "a registry, HOST or HOST:PORT, perhaps with a path, without 'https://'"
)
_people = Matching(r"[^\x00-\x1f\x7f]{0,100}", "at most 100 characters, on one line")
_user = Matching(r"[^\x00-\x1f\x7f:]*", "a name without ':', which HTTP has between name and password")
_address = Matching(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", "a host, without 'https://', port and path")
_int = Between(number, 1, (1 << 31) - 1, f"a whole number from 1 to {(1 << 31) - 1}")  # as Kafka has them
_copies = Between(number, 1, (1 << 15) - 1, f"a whole number from 1 to {(1 << 15) - 1}")
_long = Between(number, 1, (1 << 63) - 1, f"a whole number from 1 to {(1 << 63) - 1}")
# What Kafka's client sends at once is 1,000,000,000 bytes at most, with all that is around the payload.
_payload = Between(size_bytes, 1, 900 << 20, "a size from 1 byte to 900 MB, such as '1048576' or '1 MB'")
_silence = Between(seconds, 0.1, 900.0, "a number of seconds from 0.1 to 900, or a duration such as '10 seconds'")
_database = Matching(r"[a-z][a-z0-9_$()+/-]*", "a database's name: lower-case letters, digits, and _$()+/-")

# Who this is.
ID = Variable(
    "INSTAR_INVOKER_ID",
    "the number N of the topic `invokerN`; `from-name`: the number at the end of the unique name",
    Matching(rf"[0-9]{{1,25}}|{FROM_NAME}", f"a whole number from 0 on, or '{FROM_NAME}'"),
    flag="--id",
)
UNIQUE_NAME = Variable(
    "INVOKER_NAME",
    "a name that no other invoker has, such as the pod's; shown in `/invokers`",
    _name,
    flag="--uniqueName",
)
DISPLAYED_NAME = Variable(
    "INSTAR_DISPLAYED_NAME", "a name for people, shown there too", _people, flag="--displayedName"
)
ZOOKEEPER = Variable(
    "ZOOKEEPER_HOSTS",
    "the ZooKeeper servers, `host:port`, with commas between them: the number that they have for the unique name is "
    "taken where `INSTAR_INVOKER_ID` is not set",
    ensemble,
)
OVERWRITE_ID = Variable(
    "INSTAR_OVERWRITE_ID",
    "the number that ZooKeeper is to have for the unique name from now on; who had it gets another",
    Matching(r"[0-9]{1,25}", "a whole number from 0 on"),
    flag="--overwriteId",
)
DISPATCHED = Variable(
    "INSTAR_DISPATCHED",
    "whether work comes from dispatchers, and the id is theirs; then `INSTAR_NODE_NAME` is needed",
    truth,
    "false",
    "--dispatched",
    INVOKER,
)
NODE_NAME = Variable(
    "INSTAR_NODE_NAME",
    "this node's name among those of the dispatchers (default: `INVOKER_NAME`)",
    _name,
    flag="--name",
    programs=INVOKER,
)

# The message bus.
KAFKA_HOSTS = Variable("KAFKA_HOSTS", "the brokers, `host:port`, with commas between them", hosts, flag="--kafka")
KAFKA_SECURITY = Variable(
    "CONFIG_whisk_kafka_common_securityProtocol",
    "how brokers are spoken to: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`",
    OneOf(*KAFKA_PROTOCOLS),
    "PLAINTEXT",
)
TRUSTSTORE = Variable(
    "CONFIG_whisk_kafka_common_sslTruststoreLocation",
    "the file of those who vouch for brokers, PKCS #12 or PEM (default: the machine's authorities)",
    path,
)
TRUSTSTORE_PASSWORD = Variable("CONFIG_whisk_kafka_common_sslTruststorePassword", "its password", text)
KEYSTORE = Variable(
    "CONFIG_whisk_kafka_common_sslKeystoreLocation",
    "the file of our own certificate and key, PKCS #12 or PEM, where brokers want one",
    path,
)
KEYSTORE_PASSWORD = Variable("CONFIG_whisk_kafka_common_sslKeystorePassword", "its password", text)
KEY_PASSWORD = Variable(
    "CONFIG_whisk_kafka_common_sslKeyPassword", "the password of the key in a PEM file, if it is another", text
)
KAFKA_CHECKED = Variable(
    "CONFIG_whisk_kafka_common_sslEndpointIdentificationAlgorithm",
    "`https`: a broker's certificate has to be of the host that was asked for; as in stock invokers it need not by "
    "default",
    Matching(r"https|HTTPS", "'https', or nothing"),
)
SASL_MECHANISM = Variable(
    "CONFIG_whisk_kafka_common_saslMechanism",
    "how we log in: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`",
    Matching(r"PLAIN|SCRAM-SHA-256|SCRAM-SHA-512", "one of 'PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'"),
)
SASL_JAAS = Variable(
    "CONFIG_whisk_kafka_common_saslJaasConfig",
    "as whom, in a line of JAAS: a login module, `required`, `username` and `password`",
    text,
)
TOPICS_PREFIX = Variable("CONFIG_whisk_kafka_topics_prefix", "what every topic's name begins with", _topic)
EVENTS_PREFIX = Variable(
    "CONFIG_whisk_kafka_topics_userEvent_prefix", "what the name of the topic `events` begins with", _topic
)
REPLICATION = Variable("CONFIG_whisk_kafka_replicationFactor", "copies of each topic that is made", _copies, "1")
PARTITIONS = Variable("CONFIG_whisk_kafka_topics_invoker_partitions", "partitions of `invokerN`", _int, "1")
RETENTION = Variable(
    "CONFIG_whisk_kafka_topics_invoker_retentionMs", "milliseconds that it keeps messages for", _long, "172800000"
)
RETENTION_SIZE = Variable(
    "CONFIG_whisk_kafka_topics_invoker_retentionBytes", "bytes of messages that it keeps", _long, "1073741824"
)
SEGMENT_SIZE = Variable(
    "CONFIG_whisk_kafka_topics_invoker_segmentBytes", "bytes of one of its files", _int, "536870912"
)
USER_EVENTS = Variable("CONFIG_whisk_userEvents_enabled", "whether events go to the topic `events`", truth, "false")

# The database.
COUCHDB_PROTOCOL = Variable(
    "CONFIG_whisk_couchdb_protocol", "`http` or `https`", OneOf("http", "https"), "http", programs=EVERY
)
COUCHDB_HOST = Variable("CONFIG_whisk_couchdb_host", "the host of CouchDB", text, programs=EVERY)
COUCHDB_PORT = Variable("CONFIG_whisk_couchdb_port", "its port", server_port, "5984", programs=EVERY)
COUCHDB_USERNAME = Variable("CONFIG_whisk_couchdb_username", "who we are to it", _user, programs=EVERY)
COUCHDB_PASSWORD = Variable("CONFIG_whisk_couchdb_password", "the password", text, programs=EVERY)
SUBJECTS = Variable("CONFIG_whisk_couchdb_databases_WhiskAuth", "the database of subjects", _database)
ENTITIES = Variable("CONFIG_whisk_couchdb_databases_WhiskEntity", "the database of actions", _database)
ACTIVATIONS = Variable("CONFIG_whisk_couchdb_databases_WhiskActivation", "the database of activations", _database)
BLACKLIST_INTERVAL = Variable(
    "CONFIG_whisk_blacklist_pollInterval",
    "how often blocked namespaces are asked for",
    interval_s,
    "5 minutes",
    programs=INVOKER,
)

# Which records are stored.
STORE_BLOCKING = Variable(
    "CONFIG_whisk_activation_storeBlockingResultLevel",
    "of which blocking activations records are stored: `STORE_ALWAYS`, `STORE_FAILURES`, or "
    "`STORE_FAILURES_NOT_APPLICATION_ERRORS`; those of requests with `X-OW-EXTRA-LOGGING: on` always",
    store_level.parse,
    "STORE_ALWAYS",
    programs=INVOKER,
)
STORE_NON_BLOCKING = Variable(
    "CONFIG_whisk_activation_storeNonBlockingResultLevel",
    "the same of all others",
    store_level.parse,
    "STORE_ALWAYS",
    programs=INVOKER,
)
DISABLE_STORE_RESULT = Variable(
    "CONFIG_whisk_activation_disableStoreResult",
    "OpenWhisk's older way to say `STORE_FAILURES` of blocking ones; counts where their level is not set",
    truth,
    "false",
    programs=INVOKER,
)
UNSTORED_LOGS = Variable(
    "CONFIG_whisk_activation_unstoredLogsEnabled",
    "whether the log has a line for each activation that is not stored, whatever its level",
    truth,
    "false",
    programs=INVOKER,
)

# Limits of actions.
PAYLOAD_MAX = Variable(
    "CONFIG_whisk_activation_payload_max", "the most bytes of a message's arguments, and of a result", _payload,
    "1048576",
)  # fmt: skip
MEMORY_MIN = Variable("CONFIG_whisk_memory_min", "the least memory of an action", some_mb, "128m")
MEMORY_STD = Variable("CONFIG_whisk_memory_std", "its usual memory", size_mb, "256m")
MEMORY_MAX = Variable("CONFIG_whisk_memory_max", "its most memory", size_mb, "512m")
TIME_MIN = Variable("CONFIG_whisk_timeLimit_min", "the least time limit", duration_ms, "100 ms", programs=INVOKER)
TIME_STD = Variable("CONFIG_whisk_timeLimit_std", "the usual time limit", duration_ms, "1 m", programs=INVOKER)
TIME_MAX = Variable("CONFIG_whisk_timeLimit_max", "the most time limit", duration_ms, "5 m", programs=INVOKER)
LOG_MIN = Variable("CONFIG_whisk_logLimit_min", "the least log limit", size_mb, "0m", programs=INVOKER)
LOG_STD = Variable("CONFIG_whisk_logLimit_std", "the usual log limit", size_mb, "10m", programs=INVOKER)
LOG_MAX = Variable("CONFIG_whisk_logLimit_max", "the most log limit", size_mb, "10m", programs=INVOKER)

# Containers.
CONTAINERS = Variable(
    "INSTAR_CONTAINERS",
    "what containers are made of: `docker`, or `process` for a laptop",
    OneOf(DOCKER, PROCESS),
    DOCKER,
    "--containers",
    INVOKER,
)
USER_MEMORY = Variable(
    "CONFIG_whisk_containerPool_userMemory",
    "memory of all action containers of this invoker together",
    size_mb,
    "1024m",
    "--memory",
    INVOKER,
)
PAUSE_GRACE = Variable(
    "CONFIG_whisk_containerProxy_timeouts_pauseGrace",
    "after which an unused container is paused",
    duration_s,
    "10 seconds",
    programs=INVOKER,
)
IDLE_CONTAINER = Variable(
    "CONFIG_whisk_containerProxy_timeouts_idleContainer",
    "after which a paused one is removed",
    duration_s,
    "10 minutes",
    programs=INVOKER,
)
MANIFEST = Variable("RUNTIMES_MANIFEST", "the runtimes manifest, as text (default: Instar's own kinds)", text)
MANIFEST_FILE = Variable(
    "INSTAR_MANIFEST",
    "a file with the runtimes manifest, instead of `RUNTIMES_MANIFEST`",
    path,
    flag="--manifest",
)
RUNTIMES_REGISTRY = Variable(
    "CONFIG_whisk_containerFactory_runtimesRegistry_url",
    "registry of the manifest's images that name none",
    _registry,
)
USERS_REGISTRY = Variable(
    "CONFIG_whisk_containerFactory_userImagesRegistry_url",
    "registry of users' own images that name none (default: Docker's)",
    _registry,
    programs=INVOKER,
)
NETWORK = Variable(
    "CONFIG_whisk_containerFactory_containerArgs_network",
    "network of Docker containers; the invoker must reach their addresses",
    text,
    "bridge",
    programs=INVOKER,
)
API_HOST_PROTO = Variable(
    "WHISK_API_HOST_PROTO",
    "of the address that actions find in `__OW_API_HOST`",
    OneOf("http", "https"),
    "https",
    programs=INVOKER,
)
API_HOST_NAME = Variable("WHISK_API_HOST_NAME", "the host in it", _address, programs=INVOKER)
API_HOST_PORT = Variable("WHISK_API_HOST_PORT", "the port in it", server_port, "443", programs=INVOKER)
PREWARM = Variable(
    "INSTAR_PREWARM",
    "stem cells, `KIND:MB:COUNT` with commas between them, or `none` (default: the manifest's)",
    text,
    flag="--prewarm",
    programs=INVOKER,
)
IDLE_THRESHOLD = Variable(
    "INSTAR_IDLE_THRESHOLD",
    "seconds after which an idle container may become another function",
    seconds,
    "60",
    "--idle-threshold",
    INVOKER,
)
SHARE_ACROSS = Variable(
    "INSTAR_SHARE_ACROSS_NAMESPACES",
    "whether they may become functions of other namespaces, too",
    truth,
    "false",
    "--share-across-namespaces",
    INVOKER,
)
STORE = Variable(
    "INSTAR_STORE",
    "where weights are kept for all containers of the node, or `none` (default: `~/.cache/instar`)",
    text,
    flag="--store",
    programs=INVOKER,
)
COSTS = Variable(
    "INSTAR_COSTS",
    "a profile of the machine that models run on, or `none` to use no plans (default: the profile of this kind of "
    "device, measured here if nobody has)",
    text,
    flag="--costs",
    programs=INVOKER,
)
PLANS_DATABASE = Variable(
    "INSTAR_PLANS_DATABASE",
    "the database of plans between models, or `none` to make and use no plans",
    _database,
    "instar_plans",
    programs=EVERY,
)
AES_128_KEY = Variable(
    "INSTAR_AES_128_KEY",
    "the key of `whisk.parameter-storage.aes-128`, base64: for parameters that controllers send locked",
    text,
    programs=INVOKER,
)
AES_256_KEY = Variable("INSTAR_AES_256_KEY", "the same for `aes-256`", text, programs=INVOKER)

# Nodes and dispatchers.
DEAD = Variable(
    "INSTAR_DEAD", "seconds without a heartbeat after which a node is given up", _silence, "10", programs=DISPATCHER
)
FENCE = Variable(
    "INSTAR_FENCE",
    "seconds without a confirmed heartbeat after which a node starts and acknowledges nothing; less than "
    "`INSTAR_DEAD`",
    _silence,
    "5",
    programs=INVOKER,
)

# The program.
PORT = Variable("PORT", "port of the operations server; 0: any free one", port, "8080", "--port")
HOST = Variable("INSTAR_HOST", "address that it listens on; in a cluster `0.0.0.0`", listening, "127.0.0.1", "--host")
USERNAME = Variable("CONFIG_whisk_invoker_username", "who may ask it to enable and disable", _user, "invoker.user")
PASSWORD = Variable("CONFIG_whisk_invoker_password", "with this password", text, "invoker.pass")
STATE = Variable(
    "INSTAR_STATE",
    "directory of what has to survive a restart: records that could not be stored yet, how far work was begun "
    "(default: `~/.local/state/instar/NAME`)",
    path,
    flag="--state",
)
DRAIN = Variable("INSTAR_DRAIN", "seconds that running activations get after SIGTERM", seconds, "30", "--drain")
LOG_FORMAT = Variable("INSTAR_LOG_FORMAT", "`text` or `json`", OneOf(TEXT, JSON), TEXT, "--log-format")
LOG_LEVEL = Variable(
    "INSTAR_LOG_LEVEL",
    "`debug`, `info`, `warning` or `error`",
    OneOf("debug", "info", "warning", "error"),
    "info",
    "--log-level",
)

ALL: tuple[Variable[object], ...] = tuple(value for value in list(globals().values()) if isinstance(value, Variable))
