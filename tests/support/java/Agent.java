import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;

/**
 * The tests' other Kafka client: Apache's own, in one long-lived process so that its start is paid for once.
 *
 * One connection carries one request: a line of JSON. The answer is a line of JSON, {"ok": ...} or {"error": "..."}, and for
 * "dump" as many bytes after it as the line says. The port is the first line on standard output.
 */
public final class Agent {
    static final ObjectMapper JSON = new ObjectMapper();

    private Agent() {}

    public static void main(String[] args) throws IOException {
        try (ServerSocket server = new ServerSocket(0, 200, InetAddress.getLoopbackAddress())) {
            System.out.println(server.getLocalPort());
            while (true) {
                Socket socket = server.accept();
                Thread thread = new Thread(() -> serve(socket));
                thread.setDaemon(true);
                thread.start();
            }
        }
    }

    private static void serve(Socket socket) {
        try (socket) {
            socket.setTcpNoDelay(true);
            InputStream in = new BufferedInputStream(socket.getInputStream(), 1 << 16);
            OutputStream out = new BufferedOutputStream(socket.getOutputStream(), 1 << 16);
            answer(JSON.readTree(line(in)), in, out);
            out.flush();
        } catch (Exception e) {
            e.printStackTrace();
        }
    }

    private static void answer(JsonNode request, InputStream in, OutputStream out) throws IOException {
        ObjectNode reply = JSON.createObjectNode();
        ByteArrayOutputStream rows = new ByteArrayOutputStream();
        try {
            reply.set("ok", run(request, in, rows));
        } catch (Throwable e) {
            reply.put("error", e.toString());
        }
        if (rows.size() > 0 && reply.has("ok")) {
            reply.put("bytes", rows.size());
        }
        out.write(JSON.writeValueAsBytes(reply));
        out.write('\n');
        if (reply.has("bytes")) {
            rows.writeTo(out);
        }
    }

    private static JsonNode run(JsonNode request, InputStream in, ByteArrayOutputStream rows) throws Exception {
        String command = request.get("command").textValue();
        switch (command) {
            case "ping": return Topics.ping(request);
            case "enter": return Topics.enter(request);
            case "create_topic": return Topics.create(request);
            case "delete_topic": return Topics.delete(request);
            case "add_partitions": return Topics.addPartitions(request);
            case "delete_records": return Topics.deleteRecords(request);
            case "describe_topic": return Topics.describe(request);
            case "alter_topic": return Topics.alter(request);
            case "offsets": return Topics.offsets(request);
            case "committed": return Topics.committed(request);
            case "nodes": return Nodes.nodes(request);
            case "partitions": return Nodes.partitions(request);
            case "under_replicated": return Nodes.underReplicated(request);
            case "coordinator": return Nodes.coordinator(request);
            case "move_leader": return Nodes.moveLeader(request);
            case "elect_preferred": return Nodes.electPreferred(request);
            case "elect_unclean": return Nodes.electUnclean(request);
            case "clock": return Load.clock();
            case "start_load": return Load.start(request);
            case "acknowledged": return Load.acknowledged(request, rows);
            case "stop_load": return Load.stop(request);
            case "look": return Load.look(request);
            case "set_offset": return Topics.setOffset(request);
            case "write_exact": return Writer.exact(request);
            case "write_bulk": return Writer.bulk(request, in);
            case "dump": return Reader.dump(request, rows);
            case "digest": return Reader.digest(request, rows);
            case "records": return Reader.records(request);
            case "placement": return Writer.placement(request);
            case "alter_quota": return Access.alterQuota(request);
            case "set_scram_user": return Access.setScramUser(request);
            case "delete_scram_user": return Access.deleteScramUser(request);
            case "allow": return Access.allow(request);
            case "revoke": return Access.revoke(request);
            case "write_old_format": return OldFormat.write(request);
            case "format_storage": return Broker.formatStorage(request);
            case "jmx": return Broker.jmx(request);
            default: throw new IllegalArgumentException("no such command: " + command);
        }
    }

    private static String line(InputStream in) throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int b = in.read(); b >= 0 && b != '\n'; b = in.read()) {
            line.write(b);
        }
        return line.toString(StandardCharsets.UTF_8);
    }
}
