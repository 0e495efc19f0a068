import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.DescribeClusterOptions;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.errors.ElectionNotNeededException;

/** Which node of a cluster does what, and who shall do it instead. */
final class Nodes {
    private Nodes() {}

    /** The cluster's id, the active controller, and the brokers that take part. */
    static JsonNode nodes(JsonNode request) throws Exception {
        Admin admin = Topics.admin(request);
        var cluster = admin.describeCluster(new DescribeClusterOptions().timeoutMs(2000));
        ObjectNode reply = Agent.JSON.createObjectNode().put("id", cluster.clusterId().get());
        ArrayNode brokers = reply.putArray("brokers");
        cluster.nodes().get().forEach(node -> brokers.add(node.id()));
        return reply.put("controller", admin.describeMetadataQuorum().quorumInfo().get(5, TimeUnit.SECONDS).leaderId());
    }

    /** Of each partition the leader, -1 if there is none, the replicas and those that are in sync. */
    static JsonNode partitions(JsonNode request) throws Exception {
        ObjectNode reply = Agent.JSON.createObjectNode();
        String topic = request.get("topic").textValue();
        for (TopicPartitionInfo partition : describe(request, List.of(topic)).get(topic).partitions()) {
            ObjectNode one = reply.putObject(String.valueOf(partition.partition()));
            one.put("leader", partition.leader() == null ? -1 : partition.leader().id());
            ids(one.putArray("replicas"), partition.replicas());
            ids(one.putArray("in_sync"), partition.isr());
        }
        return reply;
    }

    /** How many partitions, of all topics, want for a replica that is in sync. */
    static JsonNode underReplicated(JsonNode request) throws Exception {
        var topics = Topics.admin(request).listTopics(new ListTopicsOptions().listInternal(true)).names().get();
        long count = describe(request, topics).values().stream().flatMap(topic -> topic.partitions().stream())
            .filter(partition -> partition.isr().size() < partition.replicas().size()).count();
        return Agent.JSON.getNodeFactory().numberNode(count);
    }

    /** The broker that keeps the offsets of a group: the leader of the partition of that topic which the group belongs to. */
    static JsonNode coordinator(JsonNode request) throws Exception {
        String offsets = "__consumer_offsets";
        List<TopicPartitionInfo> partitions = describe(request, List.of(offsets)).get(offsets).partitions();
        int partition = (request.get("group").textValue().hashCode() & 0x7fffffff) % partitions.size();
        Node leader = partitions.get(partition).leader();
        return Agent.JSON.getNodeFactory().numberNode(leader == null ? -1 : leader.id());
    }

    /** Makes a replica the preferred one, and has it elected. */
    static JsonNode moveLeader(JsonNode request) throws Exception {
        String topic = request.get("topic").textValue();
        TopicPartition partition = new TopicPartition(topic, request.get("partition").intValue());
        int to = request.get("to").intValue();
        List<Integer> replicas = new ArrayList<>(List.of(to));
        describe(request, List.of(topic)).get(topic).partitions().get(partition.partition()).replicas()
            .forEach(node -> { if (node.id() != to) replicas.add(node.id()); });
        var order = Optional.of(new NewPartitionReassignment(replicas));
        Topics.admin(request).alterPartitionReassignments(Map.of(partition, order)).all().get();
        return elect(request, ElectionType.PREFERRED, Set.of(partition));
    }

    /** Has an election of every partition's preferred leader. */
    static JsonNode electPreferred(JsonNode request) throws Exception {
        return elect(request, ElectionType.PREFERRED, null);
    }

    /** Has a partition led by whoever is left, in sync or not: what only others had is lost. */
    static JsonNode electUnclean(JsonNode request) throws Exception {
        TopicPartition partition =
            new TopicPartition(request.get("topic").textValue(), request.get("partition").intValue());
        return elect(request, ElectionType.UNCLEAN, Set.of(partition));
    }

    private static JsonNode elect(JsonNode request, ElectionType type, Set<TopicPartition> partitions) throws Exception {
        try {
            Topics.admin(request).electLeaders(type, partitions).all().get();
        } catch (ExecutionException e) {
            if (!(e.getCause() instanceof ElectionNotNeededException)) {
                throw e;
            }
        }
        return Agent.JSON.nullNode();
    }

    private static Map<String, TopicDescription> describe(JsonNode request, Collection<String> topics)
            throws Exception {
        return Topics.admin(request).describeTopics(topics).allTopicNames().get();
    }

    private static void ids(ArrayNode ids, List<Node> nodes) {
        nodes.forEach(node -> ids.add(node.id()));
    }
}
