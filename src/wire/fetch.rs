//! One fetch: what is asked of a broker, and its answer, taken partition by partition while it arrives.

use std::io;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{ApiKey, FetchRequest, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};
use tokio::io::AsyncRead;
use uuid::Uuid;

use super::directory::TopicId;
use super::inlet::Inlet;
use super::session::Changes;
use crate::domain::topic_partition::TopicPartition;

/// The versions in which it is spoken of here: records as they are since 4.
pub(super) const VERSIONS: (i16, i16) = (4, 13);
/// From this one on topics go by their ids: one of the same name that is another one is not taken for it.
pub(super) const BY_ID: i16 = 13;
/// From this one on lengths are varints, everything may have tags, and a broker says where logs have parted.
const FLEXIBLE: i16 = 12;
/// From this one on a broker keeps in mind what is fetched of it.
const WITH_SESSIONS: i16 = 7;

/// Where a partition is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) partition: TopicPartition,
    /// The topic's id; nothing where the cluster tells none.
    pub(super) topic_id: TopicId,
    pub(super) from: i64,
    /// How much of it.
    pub(super) bytes: i32,
    /// The term of the leader that is asked.
    pub(super) leader_epoch: i32,
    /// The term in which the record before was written; -1 where that is not known.
    pub(super) last_epoch: i32,
}

/// How much is asked for, and for how long the broker may wait for the first byte of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) max_wait_ms: i32,
    pub(super) max_bytes: i32,
}

/// The request, behind its header.
pub(super) fn encode(changes: &Changes, terms: Terms, version: i16, into: &mut BytesMut) -> Result<(), String> {
    // they come topic by topic
    let of_same_topic = |a: &Wanted, b: &Wanted| (&a.partition.topic, a.topic_id) == (&b.partition.topic, b.topic_id);
    let topics = changes.wanted.chunk_by(of_same_topic).filter_map(|wanted| {
        let (name, id) = named(wanted.first()?);
        let partitions = wanted.iter().map(|one| partition(one, version)).collect();
        Some(FetchTopic::default().with_topic(name).with_topic_id(id).with_partitions(partitions))
    });
    let forgotten = changes.forgotten.chunk_by(of_same_topic).filter_map(|gone| {
        let (name, id) = named(gone.first()?);
        let partitions = gone.iter().map(|one| one.partition.partition).collect();
        Some(ForgottenTopic::default().with_topic(name).with_topic_id(id).with_partitions(partitions))
    });
    let mut request = FetchRequest::default()
        .with_max_wait_ms(terms.max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(terms.max_bytes)
        .with_isolation_level(1) // committed records only
        .with_session_epoch(-1)
        .with_topics(topics.collect());
    if version >= WITH_SESSIONS {
        (request.session_id, request.session_epoch) = changes.number;
        request.forgotten_topics_data = forgotten.collect();
    }
    request.encode(into, version).map_err(|error| error.to_string())
}

fn named(wanted: &Wanted) -> (TopicName, Uuid) {
    (TopicName(StrBytes::from_string(wanted.partition.topic.to_string())), Uuid::from_u128(wanted.topic_id))
}

fn partition(wanted: &Wanted, version: i16) -> FetchPartition {
    FetchPartition::default()
        .with_partition(wanted.partition.partition)
        .with_current_leader_epoch(if version >= 9 { wanted.leader_epoch } else { -1 })
        .with_fetch_offset(wanted.from)
        .with_last_fetched_epoch(if version >= FLEXIBLE { wanted.last_epoch } else { -1 })
        .with_partition_max_bytes(wanted.bytes)
}

/// How an answer speaks of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    Named(String),
    Id(TopicId),
}

/// What is said of a partition.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) topic: Topic,
    pub(super) partition: i32,
    pub(super) code: i16,
    /// Transactions that came to nothing: their producer's id, and where they begin.
    pub(super) aborted: Vec<(i64, i64)>,
    pub(super) records: Bytes,
    /// Where the log that was read so far has parted from the broker's: the term and its end there.
    pub(super) parted: Option<(i32, i64)>,
}

/// What is said beside the partitions.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) code: i16,
    /// Which session the broker keeps; 0 for none.
    pub(super) session: i32,
    pub(super) throttle_ms: i32,
    pub(super) bytes: usize,
}

/// Takes the answer to the request `asked`; shows each partition's as soon as it is there.
pub(super) async fn receive<S: AsyncRead + Unpin>(
    inlet: &mut Inlet<S>,
    asked: i32,
    version: i16,
    mut each: impl FnMut(Answer),
) -> io::Result<Said> {
    let bytes = inlet.begin().await?;
    let mut reader = Reader { inlet, version };
    if reader.inlet.i32().await? != asked {
        return Err(wrong("an answer to another question"));
    }
    reader.tags().await?;
    let throttle_ms = reader.inlet.i32().await?;
    let (mut code, mut session) = (0, 0);
    if version >= WITH_SESSIONS {
        code = reader.inlet.i16().await?;
        session = reader.inlet.i32().await?;
    }
    for _ in 0..reader.count().await? {
        let topic = reader.topic().await?;
        for _ in 0..reader.count().await? {
            let answer = reader.partition(&topic).await?;
            each(answer);
        }
        reader.tags().await?;
    }
    reader.tags().await?;
    match inlet.left() {
        0 => Ok(Said { code, session, throttle_ms, bytes: bytes + 4 }),
        left => Err(wrong(&format!("an answer with {left} bytes too many"))),
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

struct Reader<'a, S> {
    inlet: &'a mut Inlet<S>,
    version: i16,
}

impl<S: AsyncRead + Unpin> Reader<'_, S> {
    async fn partition(&mut self, topic: &Topic) -> io::Result<Answer> {
        let partition = self.inlet.i32().await?;
        let code = self.inlet.i16().await?;
        self.inlet.i64().await?; // the high watermark
        self.inlet.i64().await?; // up to where transactions are decided
        if self.version >= 5 {
            self.inlet.i64().await?; // where the log begins
        }
        let mut aborted = Vec::new();
        for _ in 0..self.count().await? {
            let producer = self.inlet.i64().await?;
            aborted.push((producer, self.inlet.i64().await?));
            self.tags().await?;
        }
        if self.version >= 11 {
            self.inlet.i32().await?; // a replica that is closer, to those who say where they are
        }
        let length = self.count().await?;
        let records = self.inlet.bytes(length).await?;
        let parted = self.parted().await?;
        Ok(Answer { topic: topic.clone(), partition, code, aborted, records, parted })
    }

    /// The number of things, or of bytes, to come; none for null.
    async fn count(&mut self) -> io::Result<usize> {
        let count = if self.version >= FLEXIBLE {
            self.inlet.varint().await?.saturating_sub(1)
        } else {
            u32::try_from(self.inlet.i32().await?.max(0)).unwrap_or(0)
        };
        // each takes a byte at the least
        let count = count as usize;
        if count <= self.inlet.left() { Ok(count) } else { Err(wrong("an answer that says it has more than it has")) }
    }

    async fn topic(&mut self) -> io::Result<Topic> {
        if self.version < BY_ID {
            return self.text().await.map(Topic::Named);
        }
        let id = [self.inlet.i64().await?, self.inlet.i64().await?].map(|half| u128::from(half.cast_unsigned()));
        Ok(Topic::Id((id[0] << 64) | id[1]))
    }

    async fn text(&mut self) -> io::Result<String> {
        let length = if self.version >= FLEXIBLE {
            self.inlet.varint().await?.saturating_sub(1)
        } else {
            u32::try_from(self.inlet.i16().await?.max(0)).unwrap_or(0)
        };
        self.inlet.text(length as usize).await
    }

    async fn tags(&mut self) -> io::Result<()> {
        if self.version >= FLEXIBLE {
            for _ in 0..self.inlet.varint().await? {
                self.inlet.varint().await?;
                let length = self.inlet.varint().await?;
                self.inlet.skip(length as usize).await?;
            }
        }
        Ok(())
    }

    /// The tags of a partition, of which one matters here.
    async fn parted(&mut self) -> io::Result<Option<(i32, i64)>> {
        const PARTED: u32 = 0;
        let mut parted = None;
        if self.version >= FLEXIBLE {
            for _ in 0..self.inlet.varint().await? {
                let tag = self.inlet.varint().await?;
                let length = self.inlet.varint().await? as usize;
                if tag == PARTED && length >= 12 {
                    parted = Some((self.inlet.i32().await?, self.inlet.i64().await?));
                    self.inlet.skip(length - 12).await?;
                } else {
                    self.inlet.skip(length).await?;
                }
            }
        }
        Ok(parted.filter(|(_, end)| *end >= 0))
    }
}

/// The question's kind.
pub(super) const API: ApiKey = ApiKey::Fetch;

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::fetch_response::{
        AbortedTransaction, EpochEndOffset, FetchResponse, FetchableTopicResponse, PartitionData,
    };
    use kafka_protocol::messages::{ProducerId, ResponseHeader};
    use kafka_protocol::protocol::HeaderVersion;
    use proptest::prelude::*;

    fn frame(response: &FetchResponse, version: i16, asked: i32) -> BytesMut {
        let mut body = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(asked);
        header.encode(&mut body, FetchResponse::header_version(version)).unwrap();
        response.encode(&mut body, version).unwrap();
        let mut frame = BytesMut::from(&u32::try_from(body.len()).unwrap().to_be_bytes()[..]);
        frame.extend_from_slice(&body);
        frame
    }

    /// What is read of these bytes, which come in pieces of a few at a time.
    fn read(bytes: &[u8], version: i16) -> io::Result<(Said, Vec<Answer>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let pieces = bytes.chunks(7).map(|piece| Ok::<_, io::Error>(Bytes::copy_from_slice(piece)));
        let stream = tokio_test_reader(pieces.map(Result::unwrap).collect());
        let mut answers = Vec::new();
        let mut inlet = Inlet::new(stream);
        runtime.block_on(receive(&mut inlet, 7, version, |answer| answers.push(answer))).map(|said| (said, answers))
    }

    /// A reader that gives one piece at a time.
    fn tokio_test_reader(pieces: Vec<Bytes>) -> impl AsyncRead + Unpin {
        struct Pieces(std::collections::VecDeque<Bytes>);
        impl AsyncRead for Pieces {
            fn poll_read(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                buf: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<io::Result<()>> {
                if let Some(mut piece) = self.0.pop_front() {
                    let rest = piece.split_off(piece.len().min(buf.remaining()));
                    buf.put_slice(&piece);
                    if !rest.is_empty() {
                        self.0.push_front(rest);
                    }
                }
                std::task::Poll::Ready(Ok(()))
            }
        }
        Pieces(pieces.into())
    }

    fn response(records: &[u8], version: i16) -> FetchResponse {
        let aborted = AbortedTransaction::default().with_producer_id(ProducerId(9)).with_first_offset(33);
        let mut partition = PartitionData::default()
            .with_partition_index(3)
            .with_aborted_transactions(Some(vec![aborted]))
            .with_records(Some(Bytes::copy_from_slice(records)));
        if version >= FLEXIBLE {
            partition.diverging_epoch = EpochEndOffset::default().with_epoch(4).with_end_offset(55);
        }
        let empty = PartitionData::default().with_partition_index(5).with_error_code(6);
        let topic = |name: &'static str| {
            let name = TopicName(StrBytes::from_static_str(name));
            let topic = FetchableTopicResponse::default().with_topic(name).with_topic_id(Uuid::from_u128(77));
            topic.with_partitions(vec![partition.clone(), empty.clone()])
        };
        let session = if version >= WITH_SESSIONS { 44 } else { 0 };
        let response = FetchResponse::default().with_throttle_time_ms(12).with_session_id(session);
        response.with_responses(vec![topic("a"), topic("b.c")])
    }

    #[test]
    fn answers_are_understood_in_each_version() {
        let records: Vec<u8> = (0..40_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for version in VERSIONS.0..=VERSIONS.1 {
            let frame = frame(&response(&records, version), version, 7);
            let (said, answers) = read(&frame, version).unwrap();
            assert_eq!((said.code, said.throttle_ms, said.bytes), (0, 12, frame.len()), "{version}");
            assert_eq!(said.session, if version >= WITH_SESSIONS { 44 } else { 0 });
            let told: Vec<_> = answers.iter().map(|one| (one.topic.clone(), one.partition, one.code)).collect();
            let [a, b] =
                ["a", "b.c"].map(|name| if version < BY_ID { Topic::Named(name.to_owned()) } else { Topic::Id(77) });
            assert_eq!(told, [(a.clone(), 3, 0), (a, 5, 6), (b.clone(), 3, 0), (b, 5, 6)], "{version}");
            assert_eq!((&answers[0].records[..], &answers[0].aborted[..]), (&records[..], &[(9, 33)][..]), "{version}");
            assert_eq!(answers[0].parted, (version >= FLEXIBLE).then_some((4, 55)));
            assert!(answers[1].records.is_empty() && answers[1].parted.is_none());
            assert!(read(&frame[..frame.len() - 1], version).is_err(), "it ends too early");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_an_answer_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            version in VERSIONS.0..=VERSIONS.1,
        ) {
            let _ = read(&bytes, version);
            let mut framed = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
            framed.extend(7_i32.to_be_bytes());
            framed.extend(&bytes);
            let _ = read(&framed, version);
        }

        #[test]
        fn a_damaged_answer_is_an_answer_or_an_error(
            at in 0..200_usize, with in any::<u8>(), version in VERSIONS.0..=VERSIONS.1,
        ) {
            let mut frame = frame(&response(b"records", version), version, 7);
            let at = at % frame.len();
            frame[at] = with;
            let _ = read(&frame, version);
        }
    }
}
