import com.fasterxml.jackson.databind.JsonNode;
import com.sun.tools.attach.VirtualMachine;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import javax.management.MBeanServerConnection;
import javax.management.ObjectName;
import javax.management.remote.JMXConnectorFactory;
import javax.management.remote.JMXServiceURL;

/** What brokers need besides being started: formatted storage before, a look at their counters after. */
final class Broker {
    private static final Map<String, MBeanServerConnection> BEANS = new HashMap<>();

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

    /**
     * A number from another Java process of this user, which needs no port for it: the sum over all beans that the pattern
     * matches, so 0 where there is none yet.
     */
    static JsonNode jmx(JsonNode request) throws Exception {
        String attribute = request.get("attribute").textValue();
        MBeanServerConnection beans = beans(request.get("pid").asText());
        double sum = 0;
        for (ObjectName bean : beans.queryNames(new ObjectName(request.get("bean").textValue()), null)) {
            sum += ((Number) beans.getAttribute(bean, attribute)).doubleValue();
        }
        return Agent.JSON.getNodeFactory().numberNode((long) sum);
    }

    /** Attached once per process: a look takes a millisecond then, and can be taken often. */
    private static MBeanServerConnection beans(String pid) throws Exception {
        synchronized (BEANS) {
            MBeanServerConnection known = BEANS.get(pid);
            if (known == null) {
                VirtualMachine machine = VirtualMachine.attach(pid);
                try {
                    JMXServiceURL address = new JMXServiceURL(machine.startLocalManagementAgent());
                    known = JMXConnectorFactory.connect(address).getMBeanServerConnection();
                } finally {
                    machine.detach();
                }
                BEANS.put(pid, known);
            }
            return known;
        }
    }
}
