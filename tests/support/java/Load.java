import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * A steady load that outlives whatever is done to its cluster, and tells of each record when and where it was acknowledged.
 *
 * Times are milliseconds of this process's monotonic clock, whatever the machine's own clock does.
 */
final class Load {
    private static final Map<String, Load> LOADS = new ConcurrentHashMap<>();

    private final Writer.Shape shape;
    private final long rate;
    private final KafkaProducer<byte[], byte[]> producer;
    private final Thread thread;
    private volatile boolean stopped;
    private ByteArrayOutputStream acknowledged = new ByteArrayOutputStream();
    private long sent;
    private long failed;
    private String failure = "";

    private Load(JsonNode request) {
        shape = new Writer.Shape(request);
        rate = request.get("rate").longValue();
        Map<String, Object> properties = new HashMap<>();
        properties.put("bootstrap.servers", request.get("bootstrap").textValue());
        properties.put("acks", "all");
        properties.put("enable.idempotence", true);
        properties.put("compression.type", request.get("codec").textValue());
        properties.put("linger.ms", 5);
        properties.put("request.timeout.ms", 3000);
        properties.put("delivery.timeout.ms", 600_000);
        properties.put("max.block.ms", 600_000);
        properties.put("reconnect.backoff.max.ms", 200);
        properties.put("metadata.max.age.ms", 5000);
        producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
        thread = new Thread(this::run);
        thread.setDaemon(true);
    }

    static long now() {
        return System.nanoTime() / 1_000_000;
    }

    static JsonNode clock() {
        return Agent.JSON.getNodeFactory().numberNode(now());
    }

    static JsonNode start(JsonNode request) {
        Load load = new Load(request);
        LOADS.put(request.get("topic").textValue(), load);
        load.thread.start();
        return Agent.JSON.nullNode();
    }

    /** What was acknowledged since the last time, in rows, big-endian: partition, offset, id, time. */
    static JsonNode acknowledged(JsonNode request, ByteArrayOutputStream rows) throws IOException {
        Load load = LOADS.get(request.get("topic").textValue());
        synchronized (load) {
            load.acknowledged.writeTo(rows);
            load.acknowledged = new ByteArrayOutputStream();
        }
        return clock();
    }

    /** Sends no more, and waits until all that was sent is acknowledged or given up. */
    static JsonNode stop(JsonNode request) throws Exception {
        Load load = LOADS.get(request.get("topic").textValue());
        load.stopped = true;
        load.thread.join();
        load.producer.flush();
        load.producer.close();
        ObjectNode reply = Agent.JSON.createObjectNode();
        return reply.put("sent", load.sent).put("failed", load.failed).put("failure", load.failure);
    }

    /**
     * How far a group of the source is, and after that how far the target's partitions reach; each is left out where it can't
     * be told now.
     */
    static JsonNode look(JsonNode request) {
        ObjectNode reply = Agent.JSON.createObjectNode().put("asked", now());
        String topic = request.get("topic").textValue();
        try {
            Commits commits = Commits.of(request);
            reply.set("committed", commits.offsets());
            reply.set("falls", commits.falls());
            reply.put("told", now());
            Map<TopicPartition, OffsetSpec> latest = new HashMap<>();
            for (int partition = 0; partition < request.get("partitions").intValue(); partition++) {
                latest.put(new TopicPartition(topic, partition), OffsetSpec.latest());
            }
            ObjectNode ends = Agent.JSON.createObjectNode();
            var found = Topics.admin(request.get("target")).listOffsets(latest).all().get(20, TimeUnit.SECONDS);
            found.forEach((partition, end) -> ends.put(String.valueOf(partition.partition()), end.offset()));
            reply.set("ends", ends);
        } catch (Exception e) {
            reply.put("error", e.toString());
        }
        return reply;
    }

    private void run() {
        long begin = System.nanoTime();
        while (!stopped) {
            long id = shape.id(sent);
            try {
                producer.send(shape.make(sent), (metadata, e) -> {
                    if (e == null) {
                        acknowledge(metadata.partition(), metadata.offset(), id);
                    } else {
                        fail(e);
                    }
                });
            } catch (KafkaException e) {
                fail(e);
            }
            sent++;
            LockSupport.parkNanos(begin + sent * 1_000_000_000L / rate - System.nanoTime());
        }
    }

    private synchronized void acknowledge(int partition, long offset, long id) {
        DataOutputStream out = new DataOutputStream(acknowledged);
        try {
            out.writeInt(partition);
            out.writeLong(offset);
            out.writeLong(id);
            out.writeLong(now());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private synchronized void fail(Exception e) {
        failed++;
        failure = e.toString();
    }
}
