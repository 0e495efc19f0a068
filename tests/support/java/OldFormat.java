import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.LongNode;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;

/** Logs as the brokers before Kafka 0.11 wrote them. */
final class OldFormat {
    private OldFormat() {}

    /**
     * Writes a segment's file: for each of "sets", {"magic": 0, "codec": "gzip", "count": 10}, so many messages, numbered through.
     * Every seventh is a tombstone, every fifth has no key. The answer is the end offset.
     */
    static JsonNode write(JsonNode request) throws Exception {
        long offset = 0;
        Path segment = Path.of(request.get("file").textValue());
        try (FileChannel out = FileChannel.open(segment, StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING)) {
            for (JsonNode set : request.get("sets")) {
                ByteBuffer messages = messages(set, offset);
                while (messages.hasRemaining()) {
                    out.write(messages);
                }
                offset += set.get("count").longValue();
            }
        }
        return LongNode.valueOf(offset);
    }

    private static ByteBuffer messages(JsonNode set, long first) {
        byte magic = (byte) set.get("magic").intValue();
        Compression codec = Compression.of(CompressionType.forName(set.get("codec").textValue())).build();
        MemoryRecordsBuilder builder =
            MemoryRecords.builder(ByteBuffer.allocate(1 << 16), magic, codec, TimestampType.CREATE_TIME, first);
        for (long offset = first; offset < first + set.get("count").longValue(); offset++) {
            long timestamp = magic == 0 ? -1 : 1_400_000_000_000L + offset;
            byte[] key = offset % 5 == 0 ? null : ("key " + offset % 11).getBytes();
            byte[] value = offset % 7 == 0 ? null : ("value " + offset + " ").repeat(20).getBytes();
            builder.append(timestamp, key, value);
        }
        return builder.build().buffer();
    }
}
