import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.DescribeClusterOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** Topics, their offsets, and the offsets that groups have committed. */
final class Topics {
    private static final Map<String, Admin> ADMINS = new ConcurrentHashMap<>();

    private Topics() {}

    /** The client for a cluster's address without security, made once; "patience_ms" is for those who rather ask again. */
    static Admin admin(JsonNode request) {
        String bootstrap = request.get("bootstrap").textValue();
        // where there are several brokers, another one may answer
        int patience = request.path("patience_ms").asInt(bootstrap.contains(",") ? 3000 : 10000);
        return ADMINS.computeIfAbsent(bootstrap + " " + patience, name -> {
            Map<String, Object> properties = new HashMap<>();
            properties.put("bootstrap.servers", bootstrap);
            properties.put("default.api.timeout.ms", request.has("patience_ms") ? 2 * patience : 20000);
            properties.put("request.timeout.ms", patience);
            properties.put("reconnect.backoff.max.ms", 200);
            return Admin.create(properties);
        });
    }

    private static String topic(JsonNode request) {
        return request.get("topic").textValue();
    }

    /** The id of the cluster that answers there, once its broker can be used. */
    static JsonNode ping(JsonNode request) throws Exception {
        var cluster = admin(request).describeCluster(new DescribeClusterOptions().timeoutMs(2000));
        boolean usable = !cluster.nodes().get().isEmpty();
        return usable ? Agent.JSON.getNodeFactory().textNode(cluster.clusterId().get()) : Agent.JSON.nullNode();
    }

    /** Whether the cluster lets in a client with the properties of the request, and shows it the topic if there is one. */
    static JsonNode enter(JsonNode request) throws Exception {
        Map<String, Object> properties = new HashMap<>();
        properties.put("bootstrap.servers", request.get("bootstrap").textValue());
        request.get("properties").properties().forEach(e -> properties.put(e.getKey(), e.getValue().textValue()));
        try (Admin admin = Admin.create(properties)) {
            admin.describeCluster(new DescribeClusterOptions().timeoutMs(10000)).nodes().get();
            if (!request.get("topic").isNull()) {
                admin.describeTopics(List.of(topic(request))).allTopicNames().get();
            }
        }
        return Agent.JSON.nullNode();
    }

    static JsonNode create(JsonNode request) throws Exception {
        Map<String, String> configs = new HashMap<>();
        request.get("configs").properties().forEach(e -> configs.put(e.getKey(), e.getValue().asText()));
        Optional<Integer> partitions = Optional.of(request.get("partitions").intValue());
        NewTopic topic = new NewTopic(topic(request), partitions, Optional.empty());
        if (request.has("replicas")) {
            List<Integer> replicas = new ArrayList<>();
            request.get("replicas").forEach(broker -> replicas.add(broker.intValue()));
            topic = new NewTopic(topic(request), Map.of(0, replicas));
        }
        topic.configs(configs);
        admin(request).createTopics(List.of(topic)).all().get();
        awaitLeaders(request, partitions.get());
        return Agent.JSON.nullNode();
    }

    /** Sets settings of a topic; null takes one back to the broker's. */
    static JsonNode alter(JsonNode request) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic(request));
        List<AlterConfigOp> changes = new ArrayList<>();
        request.get("configs").properties().forEach(e -> {
            boolean set = !e.getValue().isNull();
            ConfigEntry entry = new ConfigEntry(e.getKey(), set ? e.getValue().asText() : null);
            changes.add(new AlterConfigOp(entry, set ? AlterConfigOp.OpType.SET : AlterConfigOp.OpType.DELETE));
        });
        admin(request).incrementalAlterConfigs(Map.of(resource, changes)).all().get();
        return Agent.JSON.nullNode();
    }

    static JsonNode delete(JsonNode request) throws Exception {
        admin(request).deleteTopics(List.of(topic(request))).all().get();
        return Agent.JSON.nullNode();
    }

    static JsonNode addPartitions(JsonNode request) throws Exception {
        NewPartitions total = NewPartitions.increaseTo(request.get("total").intValue());
        admin(request).createPartitions(Map.of(topic(request), total)).all().get();
        awaitLeaders(request, request.get("total").intValue());
        return Agent.JSON.nullNode();
    }

    /**
     * A young leader refuses requests that it is about to take; an idempotent producer that writes into that moment can
     * lose its order (the second request is taken before the first is tried again) and then never comes to an end.
     */
    private static void awaitLeaders(JsonNode request, int partitions) throws Exception {
        Map<TopicPartition, OffsetSpec> ends = new HashMap<>();
        for (int partition = 0; partition < partitions; partition++) {
            ends.put(new TopicPartition(topic(request), partition), OffsetSpec.latest());
        }
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (true) {
            try {
                admin(request).listOffsets(ends).all().get(20, TimeUnit.SECONDS);
                return;
            } catch (ExecutionException e) {
                boolean young = e.getCause() instanceof UnknownTopicOrPartitionException;
                if (!young || System.nanoTime() > deadline) {
                    throw e;
                }
            }
        }
    }

    static JsonNode deleteRecords(JsonNode request) throws Exception {
        TopicPartition partition = new TopicPartition(topic(request), request.get("partition").intValue());
        RecordsToDelete below = RecordsToDelete.beforeOffset(request.get("below").longValue());
        admin(request).deleteRecords(Map.of(partition, below)).all().get();
        return Agent.JSON.nullNode();
    }

    /** The partition count and the settings that differ from the broker's; null for a topic that is not there. */
    static JsonNode describe(JsonNode request) throws Exception {
        TopicDescription description = find(request);
        if (description == null) {
            return Agent.JSON.nullNode();
        }
        ObjectNode reply = Agent.JSON.createObjectNode().put("partitions", description.partitions().size());
        ObjectNode configs = reply.putObject("configs");
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic(request));
        for (ConfigEntry entry : admin(request).describeConfigs(List.of(resource)).values().get(resource).get().entries()) {
            if (entry.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG) {
                configs.put(entry.name(), entry.value());
            }
        }
        return reply;
    }

    private static TopicDescription find(JsonNode request) throws Exception {
        try {
            String topic = topic(request);
            return admin(request).describeTopics(List.of(topic)).topicNameValues().get(topic).get();
        } catch (ExecutionException e) {
            if (e.getCause() instanceof UnknownTopicOrPartitionException) {
                return null;
            }
            throw e;
        }
    }

    /** Per partition the first offset and the end, whatever has been committed; empty for a topic that is not there. */
    static JsonNode offsets(JsonNode request) throws Exception {
        ObjectNode reply = Agent.JSON.createObjectNode();
        TopicDescription description = find(request);
        if (description == null) {
            return reply;
        }
        Map<TopicPartition, OffsetSpec> first = new HashMap<>();
        Map<TopicPartition, OffsetSpec> end = new HashMap<>();
        description.partitions().forEach(p -> {
            first.put(new TopicPartition(topic(request), p.partition()), OffsetSpec.earliest());
            end.put(new TopicPartition(topic(request), p.partition()), OffsetSpec.latest());
        });
        var firsts = admin(request).listOffsets(first).all().get(20, TimeUnit.SECONDS);
        var ends = admin(request).listOffsets(end).all().get(20, TimeUnit.SECONDS);
        ends.forEach((p, e) -> reply.putArray(String.valueOf(p.partition())).add(firsts.get(p).offset()).add(e.offset()));
        return reply;
    }

    /** The offsets that a group has committed, by topic and partition; or the notes with them. */
    static JsonNode committed(JsonNode request) throws Exception {
        String group = request.get("group").textValue();
        boolean notes = request.path("notes").booleanValue();
        Map<TopicPartition, OffsetAndMetadata> committed =
            admin(request).listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        ObjectNode reply = Agent.JSON.createObjectNode();
        committed.forEach((partition, offset) -> {
            if (offset != null) {
                ObjectNode topic = reply.withObjectProperty(partition.topic());
                String number = String.valueOf(partition.partition());
                topic = notes ? topic.put(number, offset.metadata()) : topic.put(number, offset.offset());
            }
        });
        return reply;
    }

    /** Sets offsets of a group without members, as an operator does with Kafka's own tool. */
    static JsonNode setOffset(JsonNode request) throws Exception {
        TopicPartition partition = new TopicPartition(topic(request), request.get("partition").intValue());
        OffsetAndMetadata offset = new OffsetAndMetadata(request.get("offset").longValue());
        String group = request.get("group").textValue();
        admin(request).alterConsumerGroupOffsets(group, Map.of(partition, offset)).all().get();
        return Agent.JSON.nullNode();
    }
}
