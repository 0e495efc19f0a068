//! Knows who leads what for a writer, and by what brokers know it.

use std::time::Duration;

use kafka_protocol::messages::{ApiKey, InitProducerIdRequest};
use tokio::time::Instant;

use super::access::Access;
use super::connection::Connection;
use super::directory::Inquirer;
use super::outbound::Outbound;
use super::runtime;
use super::writer::{MISSING, Writing, list};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::topic_partition::TopicPartition;
use crate::format::Identity;
use crate::kafka::codes;

/// How soon it may ask again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long it waits at the most before it asks again after a failure.
const LONGEST: Duration = Duration::from_secs(5);
/// How often it asks without being asked, where something is to be written: a broker that is silent does not say that another one
/// leads now.
const REFRESH: Duration = Duration::from_secs(5);
/// How soon it asks again for what had no leader.
const LEADERLESS: Duration = Duration::from_millis(250);

/// Asks whenever somebody wants to know, for ever.
pub(super) async fn keep(writing: Writing) {
    let (access, wanted) = {
        let shared = writing.borrow();
        (shared.access.clone(), shared.ask.clone())
    };
    let mut inquirer = Inquirer::new(access.clone());
    let mut pause = PAUSE;
    loop {
        // late is as good as asked
        if tokio::time::timeout(REFRESH, wanted.notified()).await.is_ok() {
            inquirer.doubt();
        }
        if writing.borrow().partitions.values().all(Outbound::is_idle) {
            continue;
        }
        match learn(&writing, &access, &mut inquirer).await {
            Ok(()) => pause = PAUSE,
            Err(fault) => {
                inquirer.doubt();
                writing.borrow().trouble(fault);
                pause = (pause * 2).min(LONGEST);
                wanted.notify_one();
            }
        }
        runtime::rest(pause).await;
    }
}

async fn learn(writing: &Writing, access: &Access, inquirer: &mut Inquirer) -> Result<(), Fault> {
    let (at, asked) = {
        let shared = writing.borrow();
        let asked: Vec<TopicPartition> = shared.partitions.keys().cloned().collect();
        (shared.directory.addresses(access), asked)
    };
    let learned = inquirer.ask(at, asked).await?;
    writing.borrow_mut().directory.learn(&learned);
    if writing.borrow().identity.is_none()
        && let Some(connection) = inquirer.connection()
    {
        let identity = introduce(access, connection).await?;
        writing.borrow_mut().identity = Some(identity);
    }
    let partitions: Vec<TopicPartition> = writing.borrow().partitions.keys().cloned().collect();
    let mut leaderless = false;
    for partition in &partitions {
        leaderless |= !has_leader(writing, access, partition);
        writing.borrow().hang_up_unless_leader(partition);
        list(writing, partition);
    }
    if leaderless {
        let wanted = writing.borrow().ask.clone();
        runtime::spawn(async move {
            runtime::rest(LEADERLESS).await;
            wanted.notify_one();
        });
    }
    Ok(())
}

/// Whether there is somebody to write to; where there will be nobody, what waits is refused.
fn has_leader(writing: &Writing, access: &Access, partition: &TopicPartition) -> bool {
    let mut shared = writing.borrow_mut();
    if shared.directory.leader(partition).is_some() || shared.partitions.get(partition).is_none_or(Outbound::is_idle) {
        return true;
    }
    let missing = shared.directory.missing_since(partition).is_some_and(|since| Instant::now() - since >= MISSING);
    let denied = shared.directory.denied(partition);
    let why = match (missing, denied) {
        (_, Some(code)) => codes::text(code),
        (true, None) => "it is not there".to_owned(),
        (false, None) => return false,
    };
    let fault = Fault::new(FaultClass::Config, format!("cluster {}: {partition}: {why}", access.alias));
    shared.refuse_all(partition, &fault, missing);
    true
}

/// Asks for a producer's number. A cluster that has just started gives none for a moment: that is no trouble.
async fn introduce(access: &Access, connection: &mut Connection) -> Result<Identity, Fault> {
    const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
    const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    const ATTEMPTS: usize = 50;
    let version = connection.who().version(access, ApiKey::InitProducerId, 0, 4)?;
    let request = InitProducerIdRequest::default().with_transaction_timeout_ms(60_000).with_transactional_id(None);
    let mut code = 0;
    for _ in 0..ATTEMPTS {
        let answer = connection.call_plain(access, version, &request).await?;
        match answer.error_code {
            0 => return Ok(Identity { producer_id: answer.producer_id.0, epoch: answer.producer_epoch }),
            COORDINATOR_LOAD_IN_PROGRESS | COORDINATOR_NOT_AVAILABLE => runtime::rest(PAUSE).await,
            _ => return Err(no_producer_id(access, connection, answer.error_code)),
        }
        code = answer.error_code;
    }
    Err(no_producer_id(access, connection, code))
}

fn no_producer_id(access: &Access, connection: &Connection, code: i16) -> Fault {
    let why = format!("no producer id: {}", codes::text(code));
    access.fault(codes::class(code), &connection.who().address, why)
}
