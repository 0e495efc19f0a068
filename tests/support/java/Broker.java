import com.fasterxml.jackson.databind.JsonNode;
import com.sun.tools.attach.VirtualMachine;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;
import javax.management.InstanceNotFoundException;
import javax.management.ObjectName;
import javax.management.remote.JMXConnector;
import javax.management.remote.JMXConnectorFactory;
import javax.management.remote.JMXServiceURL;

/** What brokers need besides being started: formatted storage before, a look at their counters after. */
final class Broker {
    private Broker() {}

    /** Kafka's own StorageTool, without the seconds that a Java process of its own would take. */
    static JsonNode formatStorage(JsonNode request) throws Exception {
        List<String> arguments = new ArrayList<>();
        request.get("arguments").forEach(a -> arguments.add(a.textValue()));
        ByteArrayOutputStream said = new ByteArrayOutputStream();
        int status;
        synchronized (Broker.class) {
            status = kafka.tools.StorageTool.execute(arguments.toArray(new String[0]), new PrintStream(said, true));
        }
        if (status != 0) {
            throw new IllegalStateException("StorageTool ended " + status + ": " + said);
        }
        return Agent.JSON.nullNode();
    }

    /** A number from another Java process of this user, which needs no port for it; 0 for a bean that is not there yet. */
    static JsonNode jmx(JsonNode request) throws Exception {
        VirtualMachine machine = VirtualMachine.attach(request.get("pid").asText());
        String address;
        try {
            address = machine.startLocalManagementAgent();
        } finally {
            machine.detach();
        }
        ObjectName bean = new ObjectName(request.get("bean").textValue());
        try (JMXConnector connector = JMXConnectorFactory.connect(new JMXServiceURL(address))) {
            Object value = connector.getMBeanServerConnection().getAttribute(bean, request.get("attribute").textValue());
            return Agent.JSON.getNodeFactory().numberNode(((Number) value).longValue());
        } catch (InstanceNotFoundException e) {
            return Agent.JSON.getNodeFactory().numberNode(0);
        }
    }
}
