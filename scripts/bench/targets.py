"""What is measured: each target passes a chat request on to the mock provider."""

import json
import os
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass, field

from processes import Process, cpu_seconds, memory, wait_for

# The model that callers ask for, and what the provider calls it.
ASKED, SENT = "bench", "mock"
ADMIN_KEY = "admin-key-of-the-benchmark"
PATH = "/v1/chat/completions"
# Of every target: the machine has two cores.
WORKERS = 2


@dataclass
class Target:
    """Where it is, and whose processor time it costs."""

    name: str
    address: str
    pid: int
    headers: dict = field(default_factory=dict)
    # Servers that work for it.
    helpers: tuple = ()
    process: Process = None
    admin: object = None

    @property
    def url(self):
        return f"http://{self.address}{PATH}"

    def cpu(self):
        return cpu_seconds(self.pid)

    def helpers_cpu(self):
        return sum(cpu_seconds(pid) for pid in self.helpers)

    def memory(self):
        return memory(self.pid)

    def end(self):
        if self.process:
            self.process.end()


class Stage:
    """The provider and the targets."""

    def __init__(self, programs, folder, provider_port=0, workers=WORKERS, wrapper=()):
        """`wrapper` is what the programs under test are run by: a profiler, for example."""
        self.programs, self.folder = programs, folder
        self.workers, self.wrapper = workers, wrapper
        command = [programs / "examples/mock_provider", "--workers", WORKERS, "--listen"]
        provider = Process([*command, f"127.0.0.1:{provider_port}"], folder / "provider.log")
        self.targets = [Target("direct", provider.address(), provider.pid, process=provider)]
        self.others = []

    @property
    def provider(self):
        return self.targets[0]

    def add(self, target):
        self.targets.append(target)
        return target

    def end(self):
        for one in [*reversed(self.targets), *self.others]:
            one.end()

    def nginx(self, port):
        address = f"127.0.0.1:{port}"
        process = self.start_nginx("nginx", address)
        return self.add(Target("nginx", address, process.pid, process=process))

    def tls_provider(self, port):
        """The provider behind TLS: its address, and the file with the certificate that is to be trusted."""
        certificate, key = self.folder / "certificate.pem", self.folder / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=DNS:localhost"]
        # rustls takes no authority's certificate for a server's.
        command += ["-addext", "basicConstraints=critical,CA:FALSE"]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        tls = f"ssl_certificate {certificate}; ssl_certificate_key {key};"
        process = self.start_nginx("tls-provider", f"127.0.0.1:{port} ssl", tls)
        # Ends with the provider's other targets, but isn't one.
        self.others.append(process)
        return f"https://localhost:{port}", certificate

    def start_nginx(self, name, listen, tls=""):
        folder = self.folder / name
        folder.mkdir()
        config = folder / "nginx.conf"
        config.write_text(nginx_config(self.provider.address, listen, tls))
        process = Process(["nginx", "-p", folder, "-c", config, "-e", "stderr"], folder / "log")
        address = listen.split()[0]
        wait_for(lambda: answers(address) or process.child.poll() is not None)
        return process

    def bare(self):
        command = [self.programs / "examples/bare_proxy", f"http://{self.provider.address}", self.workers]
        process = Process([*self.wrapper, *command], self.folder / "bare.log")
        return self.add(Target("bare", process.address(), process.pid, process=process))

    def gateway(self, name, database_url, redis_url, helpers=(), settings=(), provider=None):
        folder = self.folder / name.replace(" ", "-")
        folder.mkdir()
        env = {
            "PATH": os.environ["PATH"],
            "ADMIN_KEY": ADMIN_KEY,
            "DATABASE_URL": database_url or f"sqlite://{folder}/gateway.db",
            "REDIS_URL": redis_url,
            "LISTEN_ADDR": "127.0.0.1:0",
            "WORKERS": str(self.workers),
            **dict(settings),
        }
        process = Process([*self.wrapper, self.programs / "llm-gateway"], folder / "log", env)
        target = Target(name, process.address(), process.pid, process=process, helpers=tuple(helpers))
        target.admin = Admin(target.address)
        wait_for(target.admin.is_ready)
        key = target.admin.open_route(provider or f"http://{self.provider.address}")
        target.headers = {"Authorization": f"Bearer {key}"}
        return self.add(target)


class Admin:
    """A gateway's own API."""

    def __init__(self, address):
        self.base = f"http://{address}"

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"{self.base}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def create(self, what, body):
        headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.base}/admin/{what}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def open_route(self, provider_url):
        """Makes the provider, the model and a key, and returns the key."""
        provider = {"name": "mock", "kind": "openai", "api_key": "sk-the-providers-own-key"}
        provider = self.create("providers", {**provider, "base_url": f"{provider_url}/v1"})
        model = {"name": ASKED, "provider_id": provider["id"], "provider_model_name": SENT}
        self.create("models", model)
        return self.create("keys", {"name": "bench"})["key"]


def answers(address):
    """Whether a server is there, whatever it says."""
    try:
        urllib.request.urlopen(f"http://{address}/v1/models", timeout=5).close()
        return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def nginx_config(upstream, listen, tls=""):
    """A plain reverse proxy: no log, connections kept on both sides, nothing buffered."""
    # Started by root, its workers would give up their rights, and with them the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""{user}
worker_processes {WORKERS};
worker_rlimit_nofile 16384;
daemon off;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_max_body_size 64m;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    upstream provider {{
        server {upstream};
        keepalive 2048;
        keepalive_timeout 1h;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {listen} backlog=4096;
        {tls}
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_request_buffering off;
        }}
    }}
}}
"""
