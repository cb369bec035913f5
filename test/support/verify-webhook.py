"""A receiver that shares no code with Parley: Python's standard library, and what the documents say.

It prints its port, then for every request a line of JSON: which of the two signatures held.
"""

import base64
import hashlib
import hmac
import http.server
import json
import sys
import time

secret = sys.argv[1]
key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()


def header_holds(headers, body):
    """Standard Webhooks: any v1 signature of id.timestamp.body, and a time within five minutes."""
    stamp = headers["webhook-timestamp"]
    if abs(time.time() - int(stamp)) > 300:
        return False
    signed = f"{headers['webhook-id']}.{stamp}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = [each.split(",", 1) for each in headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(value, expected) for version, value in given)


def member_holds(body):
    """The documented member: the hex HMAC of the compact body without it."""
    signed, signature = body[:-80] + b"}", body[-66:-2].decode()
    return hmac.compare_digest(hmac.new(key, signed, hashlib.sha256).hexdigest(), signature)


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        document = json.loads(body)
        result = {
            "header": header_holds(self.headers, body),
            "headerOfOtherBody": header_holds(self.headers, body + b" "),
            "member": member_holds(body) if "signature" in document else None,
            "memberOfOtherBody": member_holds(body.replace(b"Hello", b"Jello", 1)) if "signature" in document else None,
            "name": document.get("event") or document.get("signalName"),
        }
        print(json.dumps(result), flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
