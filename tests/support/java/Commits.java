import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.serialization.ByteBufferDeserializer;
import org.apache.kafka.coordinator.group.generated.OffsetCommitKey;
import org.apache.kafka.coordinator.group.generated.OffsetCommitValue;

/**
 * What a group commits, from the log that its commits are kept in: each one, in the order that counts.
 *
 * A coordinator can't be asked instead: one that was frozen answers with what it knew, until it hears that another has followed it.
 */
final class Commits {
    private static final String LOG = "__consumer_offsets";
    private static final Map<String, Commits> OF_GROUPS = new ConcurrentHashMap<>();

    private final String group;
    private final String topic;
    private final KafkaConsumer<ByteBuffer, ByteBuffer> consumer;
    private final TopicPartition partition;
    private final Map<Integer, Long> committed = new TreeMap<>();
    private final ArrayNode falls = Agent.JSON.createArrayNode();

    private Commits(JsonNode request, int logs) {
        group = request.get("group").textValue();
        topic = request.get("topic").textValue();
        int patience = request.get("patience_ms").intValue();
        Map<String, Object> properties = new HashMap<>();
        properties.put("bootstrap.servers", request.get("bootstrap").textValue());
        properties.put("request.timeout.ms", patience);
        properties.put("default.api.timeout.ms", 2 * patience);
        properties.put("fetch.max.wait.ms", 100);
        properties.put("reconnect.backoff.max.ms", 200);
        properties.put("metadata.max.age.ms", 5000);
        properties.put("enable.auto.commit", false);
        consumer = new KafkaConsumer<>(properties, new ByteBufferDeserializer(), new ByteBufferDeserializer());
        // as brokers choose it
        partition = new TopicPartition(LOG, (group.hashCode() & Integer.MAX_VALUE) % logs);
        consumer.assign(List.of(partition));
        consumer.seekToBeginning(List.of(partition));
    }

    /** What the group of the request has committed of the request's topic, as far as the log reaches now. */
    static Commits of(JsonNode request) throws Exception {
        Commits commits = OF_GROUPS.get(request.get("group").textValue());
        if (commits == null) {
            var log = Topics.admin(request).describeTopics(List.of(LOG)).allTopicNames().get().get(LOG);
            commits = new Commits(request, log.partitions().size());
            OF_GROUPS.put(commits.group, commits);
        }
        synchronized (commits) {
            commits.readOn(System.nanoTime() + 2_000_000L * request.get("patience_ms").intValue());
        }
        return commits;
    }

    private void readOn(long deadline) {
        long end = consumer.endOffsets(List.of(partition)).get(partition);
        while (consumer.position(partition) < end) {
            if (System.nanoTime() > deadline) {
                throw new TimeoutException("the log of commits can't be read to " + end);
            }
            consumer.poll(Duration.ofMillis(100)).forEach(this::take);
        }
    }

    private void take(ConsumerRecord<ByteBuffer, ByteBuffer> entry) {
        short version = entry.key().getShort();
        // the others are about members
        if (version > 1) {
            return;
        }
        OffsetCommitKey key = new OffsetCommitKey(new ByteBufferAccessor(entry.key()), version);
        if (!key.group().equals(group) || !key.topic().equals(topic)) {
            return;
        }
        if (entry.value() == null) {
            committed.remove(key.partition());
            return;
        }
        long offset = new OffsetCommitValue(new ByteBufferAccessor(entry.value()), entry.value().getShort()).offset();
        Long before = committed.put(key.partition(), offset);
        if (before != null && before > offset) {
            falls.add(key.partition() + " went back from " + before + " to " + offset);
        }
    }

    /** Of each partition, by its number. */
    synchronized ObjectNode offsets() {
        ObjectNode offsets = Agent.JSON.createObjectNode();
        committed.forEach((number, offset) -> offsets.put(String.valueOf(number), offset));
        return offsets;
    }

    /** Every commit below the one before it. */
    synchronized ArrayNode falls() {
        return falls.deepCopy();
    }
}
