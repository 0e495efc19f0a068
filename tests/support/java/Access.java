import com.fasterxml.jackson.databind.JsonNode;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialAlteration;
import org.apache.kafka.clients.admin.UserScramCredentialDeletion;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/** Who may do what, and how much of it: quotas, users and their passwords, access control lists. */
final class Access {
    private Access() {}

    /** Sets a quota of every client id that has none of its own; null takes it away. */
    static JsonNode alterQuota(JsonNode request) throws Exception {
        Map<String, String> everyClient = new HashMap<>();
        everyClient.put(ClientQuotaEntity.CLIENT_ID, null);
        JsonNode rate = request.get("bytes_per_second");
        var change = new ClientQuotaAlteration.Op(request.get("quota").textValue(), rate.isNull() ? null : rate.doubleValue());
        var quota = new ClientQuotaAlteration(new ClientQuotaEntity(everyClient), List.of(change));
        Topics.admin(request).alterClientQuotas(List.of(quota)).all().get();
        return Agent.JSON.nullNode();
    }

    /** Makes a user of SCRAM, or gives one another password. */
    static JsonNode setScramUser(JsonNode request) throws Exception {
        ScramCredentialInfo info = new ScramCredentialInfo(mechanism(request), 4096);
        alter(request, new UserScramCredentialUpsertion(user(request), info, request.get("password").textValue()));
        return Agent.JSON.nullNode();
    }

    static JsonNode deleteScramUser(JsonNode request) throws Exception {
        alter(request, new UserScramCredentialDeletion(user(request), mechanism(request)));
        return Agent.JSON.nullNode();
    }

    /** Lets a user do everything with a topic. */
    static JsonNode allow(JsonNode request) throws Exception {
        Topics.admin(request).createAcls(List.of(acl(request))).all().get();
        return Agent.JSON.nullNode();
    }

    /** Takes back what "allow" gave. */
    static JsonNode revoke(JsonNode request) throws Exception {
        var revoked = Topics.admin(request).deleteAcls(List.of(acl(request).toFilter())).all().get();
        if (revoked.size() != 1) {
            throw new IllegalStateException(revoked.size() + " lists are revoked, not one");
        }
        return Agent.JSON.nullNode();
    }

    private static void alter(JsonNode request, UserScramCredentialAlteration alteration) throws Exception {
        Topics.admin(request).alterUserScramCredentials(List.of(alteration)).all().get();
    }

    private static String user(JsonNode request) {
        return request.get("user").textValue();
    }

    private static ScramMechanism mechanism(JsonNode request) {
        return ScramMechanism.fromMechanismName(request.get("mechanism").textValue());
    }

    private static AclBinding acl(JsonNode request) {
        String topic = request.get("topic").textValue();
        return new AclBinding(
            new ResourcePattern(ResourceType.TOPIC, topic, PatternType.LITERAL),
            new AccessControlEntry("User:" + user(request), "*", AclOperation.ALL, AclPermissionType.ALLOW));
    }
}
