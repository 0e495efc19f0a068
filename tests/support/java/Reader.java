import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Reads a topic from its first record, or from given offsets, to its end. */
final class Reader {
    private static final long DEADLINE_MS = 120_000;

    private Reader() {}

    @FunctionalInterface
    private interface Sink {
        void take(ConsumerRecord<byte[], byte[]> entry) throws Exception;
    }

    /** One row per record, big-endian: partition, offset, timestamp, id, and hashes of key, value and headers. */
    static JsonNode dump(JsonNode request, ByteArrayOutputStream rows) throws Exception {
        DataOutputStream out = new DataOutputStream(rows);
        MessageDigest md5 = MessageDigest.getInstance("MD5");
        long[] count = {0};
        read(request, entry -> {
            out.writeInt(entry.partition());
            out.writeLong(entry.offset());
            out.writeLong(entry.timestamp());
            out.writeLong(id(entry));
            out.writeLong(hash(md5, entry.key()));
            out.writeLong(hash(md5, entry.value()));
            out.writeLong(hash(md5, canonical(entry)));
            count[0]++;
        });
        return Agent.JSON.getNodeFactory().numberNode(count[0]);
    }

    /**
     * One short row per record from the offsets of the request on, big-endian: partition, offset, id, and one hash of all
     * that the record is.
     */
    static JsonNode digest(JsonNode request, ByteArrayOutputStream rows) throws Exception {
        DataOutputStream out = new DataOutputStream(rows);
        MessageDigest md5 = MessageDigest.getInstance("MD5");
        ByteBuffer parts = ByteBuffer.allocate(4 * Long.BYTES);
        long[] count = {0};
        read(request, entry -> {
            parts.clear().putLong(entry.timestamp()).putLong(hash(md5, entry.key())).putLong(hash(md5, entry.value()))
                .putLong(hash(md5, canonical(entry)));
            out.writeInt(entry.partition());
            out.writeLong(entry.offset());
            out.writeLong(id(entry));
            out.writeLong(hash(md5, parts.array()));
            count[0]++;
        });
        return Agent.JSON.getNodeFactory().numberNode(count[0]);
    }

    /** Whole records, with their bytes as hexadecimal text. */
    static JsonNode records(JsonNode request) throws Exception {
        ArrayNode all = Agent.JSON.createArrayNode();
        read(request, entry -> {
            ObjectNode one = all.addObject();
            one.put("partition", entry.partition()).put("offset", entry.offset()).put("timestamp", entry.timestamp());
            one.put("key", hex(entry.key())).put("value", hex(entry.value()));
            ArrayNode headers = one.putArray("headers");
            for (Header header : entry.headers()) {
                headers.addArray().add(header.key()).add(hex(header.value()));
            }
        });
        return all;
    }

    private static void read(JsonNode request, Sink sink) throws Exception {
        String topic = request.get("topic").textValue();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(request)) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                .map(p -> new TopicPartition(topic, p.partition())).collect(Collectors.toList());
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            request.path("from").properties().forEach(e ->
                consumer.seek(new TopicPartition(topic, Integer.parseInt(e.getKey())), e.getValue().longValue()));
            Map<TopicPartition, Long> ends = new HashMap<>(consumer.endOffsets(partitions));
            long deadline = System.currentTimeMillis() + DEADLINE_MS;
            while (!ends.isEmpty()) {
                if (System.currentTimeMillis() > deadline) {
                    throw new IllegalStateException("the end was not reached: " + ends);
                }
                for (ConsumerRecord<byte[], byte[]> entry : consumer.poll(Duration.ofMillis(100))) {
                    sink.take(entry);
                }
                ends.entrySet().removeIf(e -> consumer.position(e.getKey()) >= e.getValue());
            }
        }
    }

    private static KafkaConsumer<byte[], byte[]> consumer(JsonNode request) {
        Map<String, Object> properties = new HashMap<>();
        properties.put("bootstrap.servers", request.get("bootstrap").textValue());
        properties.put("isolation.level", request.get("isolation").textValue());
        properties.put("enable.auto.commit", false);
        properties.put("max.poll.records", 20000);
        properties.put("allow.auto.create.topics", false);
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /** The number in the last header "id", or -1. */
    private static long id(ConsumerRecord<byte[], byte[]> entry) {
        Header id = entry.headers().lastHeader("id");
        return id == null || id.value() == null || id.value().length != 8 ? -1 : ByteBuffer.wrap(id.value()).getLong();
    }

    /** 0 for null, so that null and empty differ. */
    private static long hash(MessageDigest md5, byte[] bytes) {
        return bytes == null ? 0 : ByteBuffer.wrap(md5.digest(bytes)).getLong();
    }

    /** The headers in their order, as bytes that differ when any of them does. */
    private static byte[] canonical(ConsumerRecord<byte[], byte[]> entry) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        for (Header header : entry.headers()) {
            byte[] key = header.key().getBytes(StandardCharsets.UTF_8);
            out.writeInt(key.length);
            out.write(key);
            out.writeInt(header.value() == null ? -1 : header.value().length);
            if (header.value() != null) {
                out.write(header.value());
            }
        }
        return bytes.toByteArray();
    }

    private static String hex(byte[] bytes) {
        return bytes == null ? null : HexFormat.of().formatHex(bytes);
    }
}
