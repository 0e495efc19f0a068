//! A cluster of two brokers that do what no real one can be told to do: by a script, they lose connections before or after they have
//! written something, answer late, twice or nonsense, give up leaderships, and refuse what is fine. What they write, they write by the
//! rules of a real one: a producer's batches in the order of their numbers, and each once.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anabranch::format::{Header, RawBatch};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, InitProducerIdResponse, MetadataResponse, ProduceRequest, ProduceResponse,
    ProducerId, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

pub const TOPIC: &str = "orders";
/// A record with this value is refused, and its batch with it.
pub const BAD: &[u8] = b"bad";
pub const PARTITIONS: i32 = 3;

pub const NOT_LEADER: i16 = 6;
const OUT_OF_ORDER: i16 = 45;
const INVALID_EPOCH: i16 = 47;
const INVALID_RECORD: i16 = 87;

/// What is done with a request that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whim {
    /// What has to be done.
    Take,
    /// Nothing is written, and this is answered for the first partition.
    Deny(i16),
    /// All is written, and this is answered for the first partition.
    Lie(i16),
    /// The same, but for what is there already.
    Muddle(i16),
    /// The connection ends, and nothing is written.
    LoseRequest,
    /// All is written, and the connection ends.
    LoseAnswer,
    /// All is written, and half of the answer comes.
    HalfAnAnswer,
    /// All is written, and the answer comes twice.
    Twice,
    /// All is written, and the answer is to a question that nobody has asked.
    WrongNumber,
    /// All is written, and the answer takes its time.
    Late,
    /// The other broker leads the first partition from now on.
    Resign,
}

/// What brokers know of a producer in a partition.
#[derive(Debug, Default)]
struct Producer {
    epoch: i16,
    /// First and last number of its latest batches: so many as a real one remembers.
    latest: VecDeque<(i32, i32)>,
}

#[derive(Debug, Default)]
struct Log {
    values: Vec<Vec<u8>>,
    producers: HashMap<i64, Producer>,
    leader: i32,
    term: i32,
}

impl Log {
    /// Whether a batch is among those that it remembers.
    fn has(&self, batch: &RawBatch) -> bool {
        let Header { producer_id, producer_epoch, base_sequence, count, .. } = *batch.header();
        let known = self.producers.get(&producer_id).filter(|known| known.epoch == producer_epoch);
        known.is_some_and(|known| known.latest.contains(&(base_sequence, base_sequence + count - 1)))
    }

    /// Writes a batch if it may be written.
    fn append(&mut self, batch: &RawBatch) -> i16 {
        let Header { producer_id, producer_epoch, base_sequence, count, .. } = *batch.header();
        assert!(base_sequence >= 0, "a producer that repeats itself without a number");
        let (first, last) = (base_sequence, base_sequence + count - 1);
        let known = self.producers.get(&producer_id);
        if known.is_some_and(|known| producer_epoch < known.epoch) {
            return INVALID_EPOCH;
        }
        match known.filter(|known| known.epoch == producer_epoch) {
            Some(known) if known.latest.contains(&(first, last)) => return 0,
            Some(known) if known.latest.back().is_some_and(|(_, last)| last + 1 != first) => return OUT_OF_ORDER,
            // a later epoch begins with nothing; who is not known at all may begin anywhere
            None if known.is_some() && first != 0 => return OUT_OF_ORDER,
            _ => {}
        }
        let mut values: Vec<Vec<u8>> = Vec::new();
        batch.decode(|record| values.push(record.value.unwrap_or_default().to_vec())).unwrap();
        if values.iter().any(|value| value == BAD) {
            return INVALID_RECORD;
        }
        self.values.extend(values);
        let producer = self.producers.entry(producer_id).or_default();
        if producer.epoch != producer_epoch {
            *producer = Producer { epoch: producer_epoch, latest: VecDeque::new() };
        }
        producer.latest.push_back((first, last));
        if producer.latest.len() > 5 {
            producer.latest.pop_front();
        }
        0
    }
}

/// Both brokers, and what they have.
pub struct Brokers {
    ports: [u16; 2],
    state: Arc<Mutex<State>>,
}

struct State {
    logs: Vec<Log>,
    script: Box<dyn FnMut() -> Whim + Send>,
    producers: i64,
    /// So many requests that write are being worked on, and were at the most, by any one of the brokers.
    working: [usize; 2],
    most_at_once: usize,
}

impl State {
    fn work(&mut self, id: i32) -> &mut usize {
        &mut self.working[usize::try_from(id).unwrap()]
    }
}

impl Brokers {
    /// Starts them; each request that writes is served as the script says.
    pub fn start(script: impl FnMut() -> Whim + Send + 'static) -> Self {
        let logs = (0..PARTITIONS).map(|partition| Log { leader: partition % 2, ..Log::default() }).collect();
        let state = Arc::new(Mutex::new(State {
            logs,
            script: Box::new(script),
            producers: 0,
            working: [0; 2],
            most_at_once: 0,
        }));
        let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
        for (id, listener) in (0..).zip(listeners) {
            let state = state.clone();
            std::thread::spawn(move || {
                for socket in listener.incoming() {
                    let (state, socket) = (state.clone(), socket.unwrap());
                    // a connection that ends in an error has ended, and that is all
                    std::thread::spawn(move || drop(Served { id, ports, state, socket }.serve()));
                }
            });
        }
        Self { ports, state }
    }

    pub fn bootstrap(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// How many requests that write one of them has worked on at the same time, at the most: as in a real one, no more than one of
    /// each connection.
    pub fn most_at_once(&self) -> usize {
        lock(&self.state).most_at_once
    }

    /// All values of a partition, in order.
    pub fn values(&self, partition: i32) -> Vec<Vec<u8>> {
        lock(&self.state).logs[usize::try_from(partition).unwrap()].values.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

/// One connection.
struct Served {
    id: i32,
    ports: [u16; 2],
    state: Arc<Mutex<State>>,
    socket: TcpStream,
}

impl Served {
    fn serve(mut self) -> io::Result<()> {
        loop {
            let mut length = [0; 4];
            self.socket.read_exact(&mut length)?;
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            self.socket.read_exact(&mut request)?;
            let mut request = Bytes::from(request);
            let (api, version) = ((&request[..]).get_i16(), (&request[2..]).get_i16());
            let api = ApiKey::try_from(api).unwrap();
            let header = RequestHeader::decode(&mut request, api.request_header_version(version)).unwrap();
            let number = header.correlation_id;
            match api {
                ApiKey::ApiVersions => self.answer(number, api, version, &versions())?,
                ApiKey::Metadata => self.answer(number, api, version, &self.metadata())?,
                ApiKey::InitProducerId => {
                    let mut state = lock(&self.state);
                    state.producers += 1;
                    let id = ProducerId(state.producers);
                    drop(state);
                    self.answer(number, api, version, &InitProducerIdResponse::default().with_producer_id(id))?;
                }
                ApiKey::Produce => {
                    let request = ProduceRequest::decode(&mut request, version).unwrap();
                    let mut state = lock(&self.state);
                    *state.work(self.id) += 1;
                    state.most_at_once = state.most_at_once.max(*state.work(self.id));
                    drop(state);
                    let produced = self.produce(number, version, &request);
                    *lock(&self.state).work(self.id) -= 1;
                    produced?;
                }
                other => panic!("{other:?} was not expected"),
            }
        }
    }

    fn answer(&mut self, number: i32, api: ApiKey, version: i16, answer: &impl Encodable) -> io::Result<()> {
        self.socket.write_all(&frame(number, api, version, answer))
    }

    fn metadata(&self) -> MetadataResponse {
        let state = lock(&self.state);
        let host = StrBytes::from_static_str("127.0.0.1");
        let broker = |(id, port): (i32, u16)| {
            let broker = MetadataResponseBroker::default().with_node_id(BrokerId(id));
            broker.with_host(host.clone()).with_port(i32::from(port))
        };
        let partition = |(index, log): (i32, &Log)| {
            let partition = MetadataResponsePartition::default().with_partition_index(index);
            partition.with_leader_id(BrokerId(log.leader)).with_leader_epoch(log.term)
        };
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str(TOPIC))))
            .with_partitions((0..).zip(&state.logs).map(partition).collect());
        MetadataResponse::default().with_brokers((0..).zip(self.ports).map(broker).collect()).with_topics(vec![topic])
    }

    fn produce(&mut self, number: i32, version: i16, request: &ProduceRequest) -> io::Result<()> {
        let whim = (lock(&self.state).script)();
        if whim == Whim::LoseRequest {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let answer = self.write(request, whim);
        let number = if whim == Whim::WrongNumber { number + 1000 } else { number };
        let frame = frame(number, ApiKey::Produce, version, &answer);
        match whim {
            Whim::LoseAnswer => return Err(io::ErrorKind::ConnectionReset.into()),
            Whim::HalfAnAnswer => {
                self.socket.write_all(&frame[..frame.len() / 2])?;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Whim::Late => std::thread::sleep(Duration::from_millis(40)),
            Whim::Twice => self.socket.write_all(&frame)?,
            _ => {}
        }
        self.socket.write_all(&frame)
    }

    /// Writes what has to be written, and answers what has to be answered.
    fn write(&self, request: &ProduceRequest, whim: Whim) -> ProduceResponse {
        let mut state = lock(&self.state);
        let mut first = true;
        let mut response = ProduceResponse::default();
        for topic in &request.topic_data {
            assert_eq!(topic.name.as_str(), TOPIC);
            let mut answers = Vec::new();
            for part in &topic.partition_data {
                let log = &mut state.logs[usize::try_from(part.index).unwrap()];
                let is_first = std::mem::take(&mut first);
                if is_first && whim == Whim::Resign {
                    (log.leader, log.term) = (1 - self.id, log.term + 1);
                }
                let batch = RawBatch::split_from(&mut part.records.clone().unwrap()).unwrap().unwrap();
                let code = match whim {
                    _ if log.leader != self.id => NOT_LEADER,
                    Whim::Deny(code) if is_first => code,
                    Whim::Muddle(code) if is_first && !log.has(&batch) => code,
                    Whim::Lie(code) if is_first => match log.append(&batch) {
                        0 => code,
                        refused => refused,
                    },
                    _ => log.append(&batch),
                };
                answers.push(PartitionProduceResponse::default().with_index(part.index).with_error_code(code));
            }
            let topic = TopicProduceResponse::default().with_name(topic.name.clone());
            response.responses.push(topic.with_partition_responses(answers));
        }
        response
    }
}

fn versions() -> ApiVersionsResponse {
    let speaks = |(api, least, most): (ApiKey, i16, i16)| {
        ApiVersion::default().with_api_key(api as i16).with_min_version(least).with_max_version(most)
    };
    let all = [(ApiKey::Produce, 3, 8), (ApiKey::Metadata, 4, 9), (ApiKey::InitProducerId, 0, 4)];
    ApiVersionsResponse::default().with_api_keys(all.into_iter().map(speaks).collect())
}

fn frame(number: i32, api: ApiKey, version: i16, answer: &impl Encodable) -> Vec<u8> {
    let mut body = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(number);
    header.encode(&mut body, api.response_header_version(version)).unwrap();
    answer.encode(&mut body, version).unwrap();
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    frame
}
