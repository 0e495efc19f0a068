//! `clusters.<alias>`: where a cluster is, how to log in, and raw client properties.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretString;

use super::bandwidth::read_write_budget;
use super::keys;
use super::mistake::{Read, Refusal, Reported, suggestion};
use super::reader::{Field, Section};
use super::values;
use crate::plan::{ClusterSpec, Sasl, SaslMechanism, Security, Tls, TlsIdentity};

/// The clusters by alias. One with a mistake keeps its alias, so that a route that names it is not blamed for that.
pub(super) type Clusters = BTreeMap<String, Read<Arc<ClusterSpec>>>;

const BOOTSTRAP_HINT: &str = "give the addresses of some of its brokers, such as [\"10.0.0.1:9092\"]";

/// Reads all clusters.
pub(super) fn read_all(field: &Field<'_>, base_dir: &Path) -> Clusters {
    const HINT: &str = "name at least two clusters, such as `clusters: { here: { bootstrap: [\"10.0.0.1:9092\"] } }`";
    let entries = match field.required(HINT).and_then(|field| field.entries(HINT)) {
        Ok(entries) => entries,
        Err(Reported) => return Clusters::new(),
    };
    if entries.is_empty() {
        let _ = field.wrong("is empty", HINT);
    }
    entries.into_iter().map(|(alias, field)| (alias.to_owned(), read(alias, &field, base_dir))).collect()
}

fn read(alias: &str, field: &Field<'_>, base_dir: &Path) -> Read<Arc<ClusterSpec>> {
    let name = check_name(field, alias);
    let section = field.section(keys::CLUSTER)?;
    let bootstrap = read_bootstrap(&section.field("bootstrap"));
    let region = section.field("region").text("write the region's name, or leave the key out");
    let security = read_security(&section.field("security"), base_dir);
    let write_bandwidth = read_write_budget(&section);
    let read_bandwidth = section.field("read_bandwidth").or_unlimited(None, Field::rate);
    let client = read_client(&section.field("client"));
    name?;
    Ok(Arc::new(ClusterSpec {
        alias: alias.to_owned(),
        bootstrap: bootstrap?,
        region: region?.map(str::to_owned),
        security: security?,
        client: client?,
        write_bandwidth: write_bandwidth?,
        read_bandwidth: read_bandwidth?,
    }))
}

/// The cluster that a value names.
pub(super) fn find(field: &Field<'_>, hint: &str, clusters: &Clusters) -> Read<Option<Arc<ClusterSpec>>> {
    let Some(alias) = field.text(hint)? else { return Ok(None) };
    match clusters.get(alias) {
        Some(cluster) => cluster.clone().map(Some),
        None => {
            let hint = suggestion(alias, clusters.keys().map(String::as_str));
            Err(field.wrong(format!("{} is not one of the clusters", field.shown()), hint))
        }
    }
}

/// Aliases and route names become parts of consumer groups, metrics and addresses.
pub(super) fn check_name(field: &Field<'_>, name: &str) -> Read<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.is_empty() && name.chars().all(fits) {
        return Ok(());
    }
    Err(field.wrong("its name does not fit into a consumer group's", "use letters, digits, '.', '_' and '-' alone"))
}

fn read_bootstrap(field: &Field<'_>) -> Read<Vec<String>> {
    let field = field.required(BOOTSTRAP_HINT)?;
    let parts: Vec<_> = field.list_or_one().iter().map(|one| one.parsed(BOOTSTRAP_HINT, values::addresses)).collect();
    let parts: Vec<_> = parts.into_iter().collect::<Read<_>>()?;
    let addresses: Vec<_> = parts.into_iter().flatten().flatten().collect();
    if addresses.is_empty() { Err(field.wrong("is empty", BOOTSTRAP_HINT)) } else { Ok(addresses) }
}

#[derive(Clone, Copy)]
struct Protocol {
    sasl: bool,
    tls: bool,
}

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("plaintext", Protocol { sasl: false, tls: false }),
    ("ssl", Protocol { sasl: false, tls: true }),
    ("sasl_plaintext", Protocol { sasl: true, tls: false }),
    ("sasl_ssl", Protocol { sasl: true, tls: true }),
];

const MECHANISMS: &[(&str, SaslMechanism)] = &[
    ("plain", SaslMechanism::Plain),
    ("scram-sha-256", SaslMechanism::ScramSha256),
    ("scram-sha-512", SaslMechanism::ScramSha512),
];

fn read_security(field: &Field<'_>, base_dir: &Path) -> Read<Security> {
    let section = field.section(keys::SECURITY)?;
    let protocol = section.field("protocol").choice(PROTOCOLS)?.unwrap_or(Protocol { sasl: false, tls: false });
    let sasl = if protocol.sasl {
        read_sasl(&section).map(Some)
    } else {
        let hint = if protocol.tls { "set `protocol: sasl_ssl`" } else { "set `protocol: sasl_plaintext` or sasl_ssl" };
        refuse_unused(&section, &["mechanism", "instance", "username", "password"], hint).map(|()| None)
    };
    let tls = if protocol.tls {
        read_tls(&section, base_dir).map(Some)
    } else {
        let hint = if protocol.sasl { "set `protocol: sasl_ssl`" } else { "set `protocol: ssl` or sasl_ssl" };
        refuse_unused(&section, &["ca", "cert", "key"], hint).map(|()| None)
    };
    Ok(Security { sasl: sasl?, tls: tls? })
}

/// A key that has no use with the protocol is a mistake in one of the two: silence could mean no encryption.
fn refuse_unused(section: &Section<'_>, keys: &[&'static str], hint: &str) -> Read<()> {
    let mut all = Ok(());
    for key in keys {
        let field = section.field(key);
        if field.is_set() {
            all = Err(field.wrong("has no use with this protocol", format!("{hint}, or leave the key out")));
        }
    }
    all
}

fn read_sasl(section: &Section<'_>) -> Read<Sasl> {
    const USER: &str = "give the user's name";
    const PASSWORD: &str = "give it through the environment, such as `password: ${KAFKA_PASSWORD}`";
    let mechanism = section.field("mechanism").choice(MECHANISMS);
    let instance = section.field("instance").text("write the instance's id, or leave the key out");
    let user_field = section.field("username");
    let username = user_field.required(USER).and_then(|field| field.text(USER));
    let password = section.field("password").required(PASSWORD).and_then(|field| field.text(PASSWORD));
    let (username, instance) = (username?.unwrap_or_default(), instance?);
    let username = match instance {
        Some(_) if username.contains('#') => {
            let hint = "leave `instance` out, or the part up to '#'";
            return Err(user_field.wrong("has a '#' although `instance` is joined to it", hint));
        }
        Some(instance) => format!("{instance}#{username}"),
        None => username.to_owned(),
    };
    Ok(Sasl {
        mechanism: mechanism?.unwrap_or(SaslMechanism::Plain),
        username,
        password: SecretString::from(password?.unwrap_or_default()),
    })
}

fn read_tls(section: &Section<'_>, base_dir: &Path) -> Read<Tls> {
    const HINT: &str = "give the path of a PEM file, or leave the key out";
    let path = |key| -> Read<Option<PathBuf>> { Ok(section.field(key).text(HINT)?.map(|path| base_dir.join(path))) };
    let (ca, cert, key) = (path("ca"), path("cert"), path("key"));
    let identity = match (cert?, key?) {
        (Some(cert), Some(key)) => Some(TlsIdentity { cert, key }),
        (None, None) => None,
        (Some(_), None) => return Err(section.field("key").wrong("is missing", "a `cert` needs its private `key`")),
        (None, Some(_)) => return Err(section.field("cert").wrong("is missing", "a `key` needs its `cert`")),
    };
    Ok(Tls { ca: ca?, identity })
}

fn read_client(field: &Field<'_>) -> Read<BTreeMap<String, String>> {
    let entries = field.entries("write librdkafka's properties, such as `socket.keepalive.enable: true`")?;
    let read: Vec<_> = entries.into_iter().map(|(key, field)| read_property(key, &field)).collect();
    read.into_iter().collect()
}

fn read_property(key: &str, field: &Field<'_>) -> Read<(String, String)> {
    if let Some(Refusal { problem, hint }) = owned_by_engine(key) {
        return Err(field.wrong(problem, hint));
    }
    Ok((key.to_owned(), field.scalar()?))
}

/// Properties that the engine sets: another value would break a guarantee. A trailing `*` stands for any rest.
const OWNED: &[(&[&str], &str)] = &[
    (&["bootstrap.servers", "metadata.broker.list"], "use the cluster's `bootstrap`"),
    (
        &["security.protocol", "sasl.*", "ssl.*", "enable.ssl.*", "enable.sasl.*", "https.ca.*"],
        "use the cluster's `security`",
    ),
    (
        &["group.*", "enable.auto.commit", "auto.commit.*", "enable.auto.offset.store", "offset.store.*"],
        "leave it out: progress is kept per target by the engine",
    ),
    (
        &["partition.assignment.strategy", "max.poll.interval.ms"],
        "leave it out: the engine shares out partitions in small steps, and takes the time that `limits.drain` gives",
    ),
    (&["auto.offset.reset"], "use the route's `start`"),
    (
        &["enable.idempotence", "acks", "request.required.acks", "retries", "message.send.max.retries"],
        "leave it out: the engine needs idempotent writes that every replica acknowledges",
    ),
    (
        &[
            "max.in.flight",
            "max.in.flight.*",
            "message.timeout.ms",
            "delivery.timeout.ms",
            "transactional.id",
            "enable.gapless.guarantee",
        ],
        "leave it out: the engine keeps the order and decides itself when to try again",
    ),
    (&["partitioner", "partitioner_cb"], "use the route's `partitioning`"),
    (
        &["isolation.level", "enable.partition.eof"],
        "leave it out: the engine reads committed records and watches the ends itself",
    ),
    (
        &["test.mock.*", "plugin.*", "interceptors", "opaque", "default_topic_conf"],
        "leave it out: it is not for production",
    ),
];

fn owned_by_engine(key: &str) -> Option<Refusal> {
    let lower = key.to_lowercase();
    let matches = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(start) => lower.starts_with(start),
        None => lower == **pattern,
    };
    if let Some((_, hint)) = OWNED.iter().find(|(patterns, _)| patterns.iter().any(&matches)) {
        return Some(Refusal::new("belongs to the engine", *hint));
    }
    if lower.ends_with("_cb") {
        return Some(Refusal::new("belongs to the engine", "leave it out: a callback cannot be configured"));
    }
    // kept as plain text, so that a secret among them could be shown
    let secret = ["password", "secret"].iter().any(|word| lower.contains(word));
    secret.then(|| Refusal::new("looks like a secret", "use the cluster's `security`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_that_break_a_guarantee_are_owned() {
        for key in [
            "group.id",
            "group.instance.id",
            "partition.assignment.strategy",
            "Acks",
            "enable.gapless.guarantee",
            "throttle_cb",
            "max.in.flight.requests.per.connection",
            "ssl.ca.location",
            "sasl.mechanisms",
            "test.mock.num.brokers",
            "dr_msg_cb",
            "my.secret",
        ] {
            assert!(owned_by_engine(key).is_some(), "{key}");
        }
        for key in [
            "compression.codec",
            "linger.ms",
            "batch.size",
            "socket.keepalive.enable",
            "fetch.min.bytes",
            "client.id",
            "session.timeout.ms",
        ] {
            assert!(owned_by_engine(key).is_none(), "{key}");
        }
    }
}
