"""Uses keys of every kind in every way that a gateway may see them, right ways and wrong ones.

use_keys.py GATEWAY_URL PROVIDER_URL     prints the answers of the admin API
use_keys.py --again GATEWAY_URL          asks once more for all that the gateway tells of itself

Each key is noted in $GATEWAY_TEST_EVIDENCE/keys; so is a canary: a text of no secrecy, which takes the ways of a key and must be found.
Takes ADMIN_KEY and ADMIN_KEY_PREVIOUS from the environment.
"""

import base64
import http.client
import json
import os
import secrets
import socket
import sys
import uuid
from urllib.parse import urlsplit

# What whoever hangs is given up after.
SECONDS = 30

ADMIN_KEY = os.environ["ADMIN_KEY"]
CHAT = {"model": "mock", "messages": [{"role": "user", "content": "Hello!"}]}


def used(what, key):
    with open(os.path.join(os.environ["GATEWAY_TEST_EVIDENCE"], "keys"), "a", encoding="utf-8") as keys:
        keys.write(f"{what}\t{key}\n")
    return key


def secret(what):
    """A new key of nobody's form, for a place where it doesn't belong."""
    return used(what, f"secret-{secrets.token_hex(12)}")


class Gateway:
    def __init__(self, url):
        self.address = urlsplit(url).netloc

    def send(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(self.address, timeout=SECONDS)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        try:
            answer = response.read()
        except http.client.IncompleteRead as cut:
            answer = cut.partial
        connection.close()
        return response.status, answer

    def admin(self, method, path, body=None, key=ADMIN_KEY, **headers):
        """Prints the answer, without the one plaintext that it may have."""
        text = json.dumps(body) if isinstance(body, (dict, list)) else body
        headers = {"Content_Type": "application/json", "Authorization": f"Bearer {key}"} | headers
        status, answer = self.send(method, f"/admin{path}", text, **headers)
        try:
            shown = json.loads(answer)
        except ValueError:
            shown = answer.decode(errors="replace")
        found = dict(shown) if isinstance(shown, dict) else {}
        if "key" in found:
            del shown["key"]
        print(method, path.partition("?")[0], status, json.dumps(shown, ensure_ascii=False))
        return status, found

    def make(self, path, **body):
        status, made = self.admin("POST", path, body)
        assert status == 201, (status, made)
        return made

    def ask(self, key, body=CHAT, path="/v1/chat/completions", **headers):
        headers = {"Content_Type": "application/json", "Authorization": f"Bearer {key}"} | headers
        text = json.dumps(body) if isinstance(body, dict) else body
        return self.send("POST", path, text, **headers)[0]

    def send_raw(self, text):
        with socket.create_connection(tuple(self.address.split(":")), timeout=SECONDS) as wire:
            wire.sendall(text.encode())
            wire.shutdown(socket.SHUT_WR)
            while wire.recv(4096):
                pass


def main(gateway, provider_url):
    base_url = f"{provider_url}/v1"
    own = secret("provider key")
    provider = gateway.make(
        "/providers",
        name="mock",
        kind="openai",
        api_key=own,
        base_url=base_url,
        headers={"x-team-token": secret("provider header")},
    )["id"]
    # What any key would do if it were not kept back: stored, cached, logged when its provider fails, and listed.
    canary = used("canary", f"canary-{secrets.token_hex(12)}")
    nowhere = gateway.make(
        "/providers", name=canary, kind="openai", api_key=secret("provider key"), base_url="http://127.0.0.1:1/v1"
    )["id"]
    gateway.make("/models", name="mock", provider_id=provider)
    gateway.make("/models", name="unreachable", provider_id=nowhere)
    gateway.make("/models", name="cut", provider_id=provider, provider_model_name="mock:cut=2")
    gateway.make("/models", name="refused", provider_id=provider, provider_model_name="mock:status=401")
    user = user_keys(gateway)
    providers_keys(gateway, provider, base_url)
    admin_keys(gateway)
    for model in ("mock", "unreachable", "cut", "refused", "no-such-model"):
        gateway.ask(user, CHAT | {"model": model})
        gateway.ask(user, CHAT | {"model": model, "stream": True})
    wrong_user_keys(gateway, user)
    broken_requests(gateway, user)
    look_around(gateway)


def user_keys(gateway):
    """Issued, used, rotated, used again, revoked; answers one that works."""
    for name in ("rotated", "revoked", "good"):
        made = gateway.make("/keys", name=name)
        key = used("user key", made["key"])
        assert gateway.ask(key) == 200
        path = f"/keys/{made['id']}"
        if name == "rotated":
            _, rotated = gateway.admin("POST", f"{path}/rotate")
            assert gateway.ask(key) == 401
            assert gateway.ask(used("user key", rotated["key"])) == 200
        if name == "revoked":
            gateway.admin("DELETE", path)
            assert gateway.ask(key) == 401
    return key


def providers_keys(gateway, provider, base_url):
    """Changed; and offered in ways that are refused."""
    path = f"/providers/{provider}"
    assert gateway.admin("PUT", path, {"api_key": secret("provider key")})[0] == 200
    assert gateway.admin("PUT", path, {"headers": {"x-other": secret("provider header")}})[0] == 200
    assert gateway.admin("POST", f"{path}/test")[0] == 200
    new = {"name": "refused", "kind": "openai", "base_url": base_url}
    key = lambda: secret("refused provider key")  # noqa: E731
    for body in (
        json.dumps(new | {"api_key": key()})[:-1],
        f'{{"api_key": "{key()}" "kind": "openai"}}',
        f'{{"api_key": "{key()}", "api_key": "{key()}"}}',
        f'"{key()}"',
        [key()],
        new | {"api_key": [key()]},
        new | {"api_key": {"value": key()}},
        new | {"api_key": f"two words {key()}"},
        new | {"api_key": f"{key()}\n{key()}"},
        new | {"api_key": key() * 200},
        new | {"api_key": key(), "kind": "no-such-kind"},
        new | {"api_key": key(), "unknown": 1},
        new | {"api_key": key(), "base_url": "not a URL"},
        new | {"api_key": key(), "base_url": f"https://user:{key()}@127.0.0.1/v1"},
        new | {"api_key": key(), "base_url": f"https://127.0.0.1/v1?key={key()}"},
        new | {"api_key": key(), "headers": {"authorization": f"Bearer {key()}"}},
        new | {"api_key": key(), "headers": {"x-token": f"{key()}\u0000"}},
        new | {"api_key": key(), "headers": [key()]},
        new | {"api_key": key(), "headers": {"x-token": [key()]}},
        new | {"api_key": key(), "timeouts": {"connect": key()}},
        new | {"api_key": key(), "name": "mock"},
        new | {"api_key": key(), "name": "x" * 300},
        new | {"api_key": key(), "name": "x" * 100_000},
    ):
        status, _ = gateway.admin("POST", "/providers", body)
        assert 400 <= status < 500, (status, body)
    gateway.admin("POST", "/providers", json.dumps(new | {"api_key": key()}), Content_Type="text/plain")
    gateway.admin("PUT", path, {"api_key": key(), "is_active": "perhaps"})
    gateway.admin("PUT", path, {"api_key": None, "headers": key()})
    gateway.admin("PUT", f"/providers/{uuid.uuid4()}", {"api_key": key()})


def admin_keys(gateway):
    assert gateway.admin("GET", "/keys", key=os.environ["ADMIN_KEY_PREVIOUS"])[0] == 200
    wrong = lambda: secret("wrong admin key")  # noqa: E731
    # Few, because each further one is answered later.
    gateway.admin("GET", "/keys", key=wrong())
    gateway.admin("POST", "/providers", {"api_key": wrong()}, key=wrong())
    gateway.admin("GET", "/keys", Authorization=f"Basic {base64.b64encode(f'admin:{wrong()}'.encode()).decode()}")
    gateway.admin("GET", f"/keys?limit={wrong()}&admin_key={wrong()}", X_Admin_Key=wrong())


def wrong_user_keys(gateway, user):
    wrong = lambda: secret("wrong user key")  # noqa: E731
    for key in (used("wrong user key", f"sk-{uuid.uuid4()}"), wrong(), wrong() * 100, f"{wrong()} {wrong()}"):
        assert gateway.ask(key) == 401
    anthropics = {"model": "mock", "max_tokens": 9, "messages": CHAT["messages"]}
    gateway.ask(wrong(), anthropics, "/v1/messages", X_Api_Key=user)
    gateway.ask(user, anthropics, "/v1/messages", X_Api_Key=user)
    gateway.send("POST", "/v1/messages", json.dumps(anthropics), X_Api_Key=wrong())
    gateway.send("GET", "/v1/models", Authorization=wrong())
    gateway.send("GET", "/v1/models", Authorization=f"Basic {base64.b64encode(f'{wrong()}:'.encode()).decode()}")
    gateway.send("GET", f"/v1/models?api_key={wrong()}", Cookie=f"key={wrong()}", Api_Key=wrong())
    gateway.send("GET", "/v1/models", Proxy_Authorization=f"Bearer {wrong()}", X_Goog_Api_Key=wrong())
    # The gateway's key in places where some programs put one, beside a right one.
    gateway.ask(user, path=f"/v1/chat/completions?key={wrong()}", Api_Key=wrong(), Cookie=wrong())


def broken_requests(gateway, user):
    lost = lambda: secret("key in a broken request")  # noqa: E731
    for body in (f'{{"model": "mock", "api_key": "{lost()}"', f'{{"model": ["{lost()}"]}}', "", f'["{lost()}"]'):
        assert gateway.ask(user, body) == 400
    gateway.ask(user, CHAT, Content_Type="multipart/form-data; boundary=x")
    gateway.ask(user, CHAT, Content_Encoding="gzip")
    gateway.ask(user, CHAT | {"api_key": lost()})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user}\r\n"
    for text in (
        f"{head}Content-Length: 1000\r\n\r\n{{\"api_key\": \"{lost()}\"",
        f"{head}Transfer-Encoding: chunked\r\n\r\nno size {lost()}\r\n",
        f"{head}Authorization: Bearer {lost()}\r\nContent-Length: 0\r\n\r\n",
        f"{head}Bad Header {lost()}: {lost()}\r\n\r\n",
        f"{head}Expect: 100-continue\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Protocol: "
        f"openai-insecure-api-key.{lost()}\r\n\r\n",
        f"GET /v1/models HTTP/9.9\r\nAuthorization: Bearer {lost()}\r\n\r\n",
        f"GET http://user:{lost()}@x/v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
        f"Authorization: Bearer {lost()}\r\n\r\n",
        f"POST /admin/providers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: 999\r\n\r\n{{\"api_key\": \"{lost()}\"",
    ):
        gateway.send_raw(text)


def look_around(gateway):
    """All that a gateway tells of itself."""
    for what in ("providers", "models", "keys", "audit"):
        status, _ = gateway.admin("GET", f"/{what}")
        assert status == 200
    gateway.admin("GET", "/provider-kinds")
    for path in ("/metrics", "/readyz", "/healthz"):
        status, answer = gateway.send("GET", path, Authorization=f"Bearer {ADMIN_KEY}")
        print("GET", path, status, answer.decode())


match sys.argv[1:]:
    case ["--again", url]:
        look_around(Gateway(url))
    case [url, provider_url]:
        main(Gateway(url), provider_url)
    case _:
        raise SystemExit(__doc__)
