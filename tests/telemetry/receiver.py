"""An OTLP receiver for gRPC and for HTTP, on gRPC's own server and OpenTelemetry's own messages.

What it takes is appended to one file per signal: a request per line, in OTLP's JSON.

    receiver.py GRPC_PORT HTTP_PORT FOLDER [CERTIFICATE_AND_KEY]
"""

import base64
import gzip
import json
import pathlib
import ssl
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

# where it stands in a URL, the file's name, the messages, and the service with what adds it to a server
SIGNALS = {
    "/v1/metrics": ("metrics", metrics_service_pb2, "Metrics", metrics_service_pb2_grpc),
    "/v1/logs": ("logs", logs_service_pb2, "Logs", logs_service_pb2_grpc),
    "/v1/traces": ("traces", trace_service_pb2, "Trace", trace_service_pb2_grpc),
}
# bytes that OTLP's JSON has as hexadecimal numbers, unlike all others
IDS = {"traceId", "spanId", "parentSpanId"}


def as_otlp(value):
    if isinstance(value, list):
        return [as_otlp(one) for one in value]
    if isinstance(value, dict):
        return {key: base64.b64decode(one).hex() if key in IDS else as_otlp(one) for key, one in value.items()}
    return value


class Files:
    """The requests of each signal, whole lines only."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.lock = threading.Lock()

    def take(self, name, request):
        line = json.dumps(as_otlp(MessageToDict(request, use_integers_for_enums=True))) + "\n"
        with self.lock, open(self.folder / name, "a", encoding="utf-8") as file:
            file.write(line)


def serve_grpc(port, files, certificate):
    server = grpc.server(futures.ThreadPoolExecutor(8))
    for name, messages, service, services in SIGNALS.values():
        answer = getattr(messages, f"Export{service}ServiceResponse")

        class Servicer(getattr(services, f"{service}ServiceServicer")):
            def Export(self, request, context, name=name, answer=answer):
                files.take(name, request)
                return answer()

        getattr(services, f"add_{service}ServiceServicer_to_server")(Servicer(), server)
    address = f"127.0.0.1:{port}"
    if certificate:
        pem = pathlib.Path(certificate).read_bytes()
        server.add_secure_port(address, grpc.ssl_server_credentials([(pem, pem)]))
    else:
        server.add_insecure_port(address)
    server.start()
    return server


def serve_http(port, files, certificate):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            if self.path not in SIGNALS or self.headers["Content-Type"] != "application/x-protobuf":
                return self.answer(400, b"")
            name, messages, service, _ = SIGNALS[self.path]
            files.take(name, getattr(messages, f"Export{service}ServiceRequest").FromString(body))
            self.answer(200, getattr(messages, f"Export{service}ServiceResponse")().SerializeToString())

        def answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Nobody reads what was asked for: the files have it."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        # the handshake is the business of the connection's own thread: whoever does not shake hands holds up nobody
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


def main(grpc_port, http_port, folder, certificate=None):
    files = Files(folder)
    _held = serve_grpc(int(grpc_port), files, certificate)  # it ends when nobody has it any more
    serve_http(int(http_port), files, certificate)


main(*sys.argv[1:])
