//! `telemetry`: what a process tells about itself, and where it is pushed to.
//!
//! What stands in the file goes before OpenTelemetry's own variables, key by key: those are often set for all that runs on a
//! machine, and the file is about this process. `ANABRANCH__TELEMETRY__…` goes before both. Only `OTEL_SDK_DISABLED` ends all
//! pushing, whatever the file says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::keys;
use super::mistake::{Read, Refusal, quoted};
use super::otel::{Environment, SIGNALS, Signal, is_header_name, is_header_value};
use super::reader::{Field, Section};
use crate::plan::telemetry::{Protocol, Push, Telemetry};

/// Reads the section; `env` has OpenTelemetry's own variables.
pub(super) fn read(root: &Section<'_>, base_dir: &Path, env: &BTreeMap<String, String>) -> Read<Telemetry> {
    let section = root.field("telemetry").section(keys::TELEMETRY)?;
    let per_partition = section.field("per_partition").flag();
    let resource = read_resource(&section.field("resource"));
    let otlp = read_otlp(&section.field("otlp"), base_dir);
    let sample = read_sample(&section.field("traces"));
    let (otlp, sample, per_partition) = (otlp?, sample?, per_partition?.unwrap_or(true));
    let environment = Environment::new(env);
    let mut attributes = environment.resource();
    attributes.extend(resource?);
    let ends = environment.is_disabled();
    let [metrics, logs, traces] = SIGNALS.map(|signal| if ends { None } else { otlp.push(signal, &environment) });
    let interval = if metrics.is_some() { otlp.interval.or_else(|| environment.interval()) } else { otlp.interval };
    let sample = if traces.is_some() { sample.or_else(|| environment.sample()) } else { sample };
    Ok(Telemetry {
        per_partition,
        resource: attributes,
        metrics,
        logs,
        traces,
        interval: interval.unwrap_or(Telemetry::INTERVAL),
        sample: sample.unwrap_or(Telemetry::SAMPLE),
        ignored: environment.into_ignored(),
    })
}

/// `telemetry.otlp`, as far as the file says something.
struct Otlp {
    endpoint: Option<Endpoint>,
    protocol: Option<Protocol>,
    headers: BTreeMap<String, SecretString>,
    ca: Option<PathBuf>,
    signals: Option<Vec<Signal>>,
    interval: Option<Duration>,
    timeout: Option<Duration>,
}

#[derive(Clone)]
enum Endpoint {
    Off,
    /// What a signal's path is put behind.
    At(String),
}

impl Otlp {
    /// Where a signal goes to, if anywhere.
    fn push(&self, signal: Signal, environment: &Environment<'_>) -> Option<Push> {
        let wanted = match (&self.endpoint, &self.signals) {
            (Some(Endpoint::Off), _) => false,
            (_, Some(signals)) => signals.contains(&signal),
            (_, None) => environment.wants(signal),
        };
        if !wanted {
            return None;
        }
        let protocol = self.protocol.or_else(|| environment.protocol(signal)).unwrap_or(Protocol::Grpc);
        let endpoint = match &self.endpoint {
            Some(Endpoint::At(base)) => signal.below(base, protocol),
            _ => environment.endpoint(signal, protocol)?,
        };
        environment.check_headers(signal);
        environment.check_the_rest(signal);
        let timeout = self.timeout.or_else(|| environment.timeout(signal)).unwrap_or(Push::TIMEOUT);
        Some(Push { endpoint, protocol, headers: self.headers.clone(), timeout, ca: self.ca.clone() })
    }
}

fn read_otlp(field: &Field<'_>, base_dir: &Path) -> Read<Otlp> {
    const SECOND: Duration = Duration::from_secs(1);
    const LONGEST_INTERVAL: Duration = Duration::from_hours(1);
    const SHORTEST_TIMEOUT: Duration = Duration::from_millis(100);
    const LONGEST_TIMEOUT: Duration = Duration::from_mins(5);
    let section = field.section(keys::OTLP)?;
    let endpoint = read_endpoint(&section.field("endpoint"));
    let protocol = section.field("protocol").choice(&[("grpc", Protocol::Grpc), ("http", Protocol::Http)]);
    let headers = read_headers(&section.field("headers"));
    let ca = section.field("ca").text("write the path of a PEM file");
    let signals = read_signals(&section.field("signals"));
    let interval = section.field("interval").duration(SECOND..=LONGEST_INTERVAL);
    let timeout = section.field("timeout").duration(SHORTEST_TIMEOUT..=LONGEST_TIMEOUT);
    Ok(Otlp {
        endpoint: endpoint?,
        protocol: protocol?,
        headers: headers?,
        ca: ca?.map(|path| base_dir.join(path)),
        signals: signals?,
        interval: interval?,
        timeout: timeout?,
    })
}

fn read_endpoint(field: &Field<'_>) -> Read<Option<Endpoint>> {
    field.parsed(ENDPOINT_HINT, |text| match text {
        "off" => Ok(Endpoint::Off),
        text => url(text).map(|()| Endpoint::At(text.to_owned())),
    })
}

const ENDPOINT_HINT: &str = "write a URL such as http://collector:4317, or off";

/// Checks that a text is the URL of a receiver.
pub(super) fn url(text: &str) -> Result<(), Refusal> {
    let refused = |problem: String| Err(Refusal::new(problem, ENDPOINT_HINT));
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let Some(rest) = rest else { return refused(format!("{} does not begin with http:// or https://", quoted(text))) };
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err(Refusal::new("has a user in it", "give what a login takes in `headers`, such as authorization"));
    }
    let (host, port) = match authority.rsplit_once(':') {
        // a colon within brackets is one of the address itself
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let plain = |host: &str| host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let known = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && plain(host),
    };
    if !known || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return refused(format!("{} has no host with a port", quoted(text)));
    }
    if !rest.chars().all(|c| c.is_ascii_graphic()) || rest.contains(['?', '#']) {
        return refused(format!("{} has something in it that does not belong into one", quoted(text)));
    }
    Ok(())
}

/// Their values are in no message.
fn read_headers(field: &Field<'_>) -> Read<BTreeMap<String, SecretString>> {
    const HINT: &str = "write names and values, such as { authorization: \"Bearer ${TOKEN}\" }";
    let mut headers = BTreeMap::new();
    let mut all = Ok(());
    for (name, field) in field.entries(HINT)? {
        let read = if is_header_name(name) {
            read_header(&field, HINT).map(|value| drop(headers.insert(name.to_lowercase(), value)))
        } else {
            Err(field
                .wrong("is no name of a header", "use letters, digits and dashes; grpc-… and …-bin are gRPC's own"))
        };
        all = all.and(read);
    }
    all.map(|()| headers)
}

fn read_header(field: &Field<'_>, hint: &str) -> Read<SecretString> {
    field.required(hint)?;
    let value = field.text(hint)?.unwrap_or_default();
    if !is_header_value(value) {
        return Err(field.wrong("has something in it that does not fit into a header", hint));
    }
    Ok(SecretString::from(value))
}

fn read_signals(field: &Field<'_>) -> Read<Option<Vec<Signal>>> {
    if !field.is_set() {
        return Ok(None);
    }
    let words = SIGNALS.map(|signal| (signal.name(), signal));
    let read: Vec<Read<Option<Signal>>> = field.list_or_one().iter().map(|field| field.choice(&words)).collect();
    let signals: Vec<Option<Signal>> = read.into_iter().collect::<Read<_>>()?;
    Ok(Some(signals.into_iter().flatten().collect()))
}

fn read_resource(field: &Field<'_>) -> Read<BTreeMap<String, String>> {
    let entries = field.entries("write names and values, such as { deployment.environment.name: production }")?;
    let mut attributes = BTreeMap::new();
    let mut all = Ok(());
    for (name, field) in entries {
        all = all.and(field.scalar().map(|value| drop(attributes.insert(name.to_owned(), value))));
    }
    all.map(|()| attributes)
}

fn read_sample(field: &Field<'_>) -> Read<Option<f64>> {
    field.section(keys::TRACES)?.field("sample").number(0.0..=1.0)
}
