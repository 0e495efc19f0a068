import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Writes records: exactly those of the request, or many that are made from their numbers. */
final class Writer {
    private Writer() {}

    /** Writes the records of the request as they are; their bytes come as hexadecimal text. */
    static JsonNode exact(JsonNode request) throws Exception {
        String topic = request.get("topic").textValue();
        try (Output output = new Output(request)) {
            for (JsonNode one : request.get("records")) {
                Integer partition = one.get("partition").isNull() ? null : one.get("partition").intValue();
                Long timestamp = one.get("timestamp").longValue();
                var entry = new ProducerRecord<>(topic, partition, timestamp, bytes(one.get("key")), bytes(one.get("value")));
                for (JsonNode header : one.get("headers")) {
                    entry.headers().add(header.get(0).textValue(), bytes(header.get(1)));
                }
                output.write(entry);
            }
            output.finish();
        }
        return Agent.JSON.nullNode();
    }

    /**
     * Writes "count" records numbered from "first_id", "rate" a second or, where that is 0, as fast as they go; a count of -1 goes
     * on until the asker closes its side of the connection. The answer is how many were written.
     */
    static JsonNode bulk(JsonNode request, InputStream in) throws Exception {
        Shape shape = new Shape(request);
        long count = request.get("count").longValue();
        long rate = request.get("rate").longValue();
        Thread closed = new Thread(() -> untilClosed(in));
        closed.setDaemon(true);
        if (count < 0) {
            closed.start();
        }
        long written = 0;
        long begin = System.nanoTime();
        try (Output output = new Output(request)) {
            while (count < 0 ? closed.isAlive() : written < count) {
                output.write(shape.make(written));
                written++;
                if (rate > 0) {
                    LockSupport.parkNanos(begin + written * 1_000_000_000L / rate - System.nanoTime());
                }
            }
            output.finish();
        }
        return Agent.JSON.getNodeFactory().numberNode(written);
    }

    /** Where Java's default partitioner puts keys. */
    static JsonNode placement(JsonNode request) {
        int partitions = request.get("partitions").intValue();
        ArrayNode reply = Agent.JSON.createArrayNode();
        for (JsonNode key : request.get("keys")) {
            reply.add(BuiltInPartitioner.partitionForKey(bytes(key), partitions));
        }
        return reply;
    }

    private static void untilClosed(InputStream in) {
        try {
            while (in.read() >= 0) {
                continue;
            }
        } catch (IOException e) {
            return;
        }
    }

    private static byte[] bytes(JsonNode hex) {
        return hex.isNull() ? null : HexFormat.of().parseHex(hex.textValue());
    }

    /** A producer, and the transaction around what it writes if the request wants one. */
    private static final class Output implements AutoCloseable {
        private final KafkaProducer<byte[], byte[]> producer;
        private final String transaction;
        private final AtomicReference<Exception> failure = new AtomicReference<>();

        Output(JsonNode request) {
            transaction = request.get("transaction").textValue();
            Map<String, Object> properties = new HashMap<>();
            properties.put("bootstrap.servers", request.get("bootstrap").textValue());
            properties.put("compression.type", request.get("codec").textValue());
            properties.put("linger.ms", 5);
            properties.put("batch.size", 131072);
            if (transaction != null) {
                properties.put("transactional.id", UUID.randomUUID().toString());
            }
            producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
            if (transaction != null) {
                producer.initTransactions();
                producer.beginTransaction();
            }
        }

        void write(ProducerRecord<byte[], byte[]> entry) {
            producer.send(entry, (metadata, e) -> {
                if (e != null) {
                    failure.compareAndSet(null, e);
                }
            });
        }

        void finish() throws Exception {
            producer.flush();
            if ("commit".equals(transaction)) {
                producer.commitTransaction();
            } else if ("abort".equals(transaction)) {
                producer.abortTransaction();
            }
            if (failure.get() != null) {
                throw failure.get();
            }
        }

        @Override
        public void close() {
            producer.close();
        }
    }

    /** A record made from its number: always the same one for the same number. */
    static final class Shape {
        private static final String[] KINDS = {
            "null key", "empty key", "binary key", "tombstone", "empty value", "repeated headers", "null header", "old", "plain",
        };
        private final String topic;
        private final long firstId;
        private final int partitions;
        private final int valueSize;
        private final boolean mixed;
        private final long timestamp;
        private final long timestampStep;
        private final long age;

        Shape(JsonNode request) {
            topic = request.get("topic").textValue();
            firstId = request.get("first_id").longValue();
            partitions = request.get("partitions").intValue();
            valueSize = request.get("value_size").intValue();
            mixed = request.get("mixed").booleanValue();
            timestamp = request.get("timestamp").longValue();
            timestampStep = request.get("timestamp_step").longValue();
            age = request.get("age").longValue();
        }

        long id(long index) {
            return firstId + index;
        }

        ProducerRecord<byte[], byte[]> make(long index) {
            long id = id(index);
            String kind = mixed ? KINDS[(int) (index / partitions % KINDS.length)] : "plain";
            SplittableRandom random = new SplittableRandom(id);
            int partition = (int) (index % partitions);
            var entry = new ProducerRecord<>(topic, partition, time(kind, index), key(kind, id), value(kind, random));
            headers(kind, id, entry);
            return entry;
        }

        private Long time(String kind, long index) {
            return timestamp + index * timestampStep - (kind.equals("old") ? age : 0);
        }

        private static byte[] key(String kind, long id) {
            switch (kind) {
                case "null key": return null;
                case "empty key": return new byte[0];
                case "binary key": return ByteBuffer.allocate(12).putInt(0xfffe0000).putLong(-id).array();
                default: return ("key-" + id).getBytes(StandardCharsets.UTF_8);
            }
        }

        /** Half of it compresses well, half of it not at all. */
        private byte[] value(String kind, SplittableRandom random) {
            if (kind.equals("tombstone")) {
                return null;
            }
            if (kind.equals("empty value")) {
                return new byte[0];
            }
            byte[] noise = new byte[valueSize / 2];
            random.nextBytes(noise);
            return ByteBuffer.allocate(valueSize).put(noise).array();
        }

        private static void headers(String kind, long id, ProducerRecord<byte[], byte[]> entry) {
            entry.headers().add("id", ByteBuffer.allocate(8).putLong(id).array());
            if (kind.equals("repeated headers")) {
                entry.headers().add("trace", new byte[] {1}).add("trace", new byte[] {0, -1}).add("a", new byte[0]).add("trace", null);
            }
            if (kind.equals("null header")) {
                entry.headers().add("nothing", null).add("", new byte[] {7});
            }
        }
    }
}
