"""Prints all records of a partition, as confluent-kafka reads them: BOOTSTRAP TOPIC PARTITION."""

import sys

from confluent_kafka import Consumer, TopicPartition


def main(bootstrap: str, topic: str, partition: str) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "read.py", "enable.auto.commit": False})
    place = TopicPartition(topic, int(partition), 0)
    _, end = consumer.get_watermark_offsets(place, timeout=30)
    consumer.assign([place])
    while consumer.position([place])[0].offset < end:
        message = consumer.poll(30)
        if message is None:
            sys.exit(f"nothing came for 30 s, before offset {end}")
        if message.error():
            sys.exit(str(message.error()))
        print(message.offset(), message.timestamp(), message.headers(), message.key(), message.value())
    consumer.close()


main(*sys.argv[1:])
