//! OpenTelemetry's own variables, such as `OTEL_EXPORTER_OTLP_ENDPOINT`: what they say where the file says nothing.
//!
//! One that can't be read is ignored with a warning, as their specification wants it: they may be set for others, and nothing is
//! to stop copying because of them. An empty one counts as none. What they say is in no message.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::telemetry::url;
use crate::plan::telemetry::Protocol;

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Numbers, read now and then.
    Metrics,
    /// What is on standard error too.
    Logs,
    /// Batches on their way.
    Traces,
}

/// All of them.
pub(super) const SIGNALS: [Signal; 3] = [Signal::Metrics, Signal::Logs, Signal::Traces];

impl Signal {
    /// The name in configs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Traces => "traces",
        }
    }

    /// Where it goes below a base URL: over HTTP each one has a path of its own.
    pub(super) fn below(self, base: &str, protocol: Protocol) -> String {
        let base = base.trim_end_matches('/');
        match protocol {
            Protocol::Grpc => base.to_owned(),
            Protocol::Http => format!("{base}/v1/{}", self.name()),
        }
    }
}

/// The variables, and what is wrong with them.
pub(super) struct Environment<'a> {
    variables: &'a BTreeMap<String, String>,
    ignored: RefCell<Vec<String>>,
}

impl<'a> Environment<'a> {
    /// All variables of the process.
    pub(super) fn new(variables: &'a BTreeMap<String, String>) -> Self {
        Self { variables, ignored: RefCell::default() }
    }

    /// Why variables are ignored, one line each.
    pub(super) fn into_ignored(self) -> Vec<String> {
        self.ignored.into_inner()
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// What a variable means; nothing where it can't be read, which is noted with what to do about it.
    fn read<T>(&self, name: &str, hint: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = parse(self.get(name)?);
        if value.is_none() {
            self.ignore(format!("{name} is ignored, as it can't be read; {hint}"));
        }
        value
    }

    /// Each once: the variables for all signals are looked at for each.
    fn ignore(&self, line: String) {
        let mut ignored = self.ignored.borrow_mut();
        if !ignored.contains(&line) {
            ignored.push(line);
        }
    }

    /// The signal's own variable, and then the one for all of them.
    fn of<T>(&self, signal: Signal, what: &str, hint: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.read(&own(signal, what), hint, &parse).or_else(|| self.read(&common(what), hint, &parse))
    }

    /// Whether nothing is to be pushed at all.
    pub(super) fn is_disabled(&self) -> bool {
        self.read("OTEL_SDK_DISABLED", "write true or false", switch).unwrap_or(false)
    }

    /// Whether a signal is to be pushed.
    pub(super) fn wants(&self, signal: Signal) -> bool {
        let name = format!("OTEL_{}_EXPORTER", signal.name().to_uppercase());
        let parse = |text: &str| match text {
            "otlp" => Some(true),
            "none" => Some(false),
            _ => None,
        };
        self.read(&name, "write otlp or none", parse).unwrap_or(true)
    }

    /// What is spoken.
    pub(super) fn protocol(&self, signal: Signal) -> Option<Protocol> {
        self.of(signal, "PROTOCOL", "write grpc or http/protobuf", |text| match text {
            "grpc" => Some(Protocol::Grpc),
            "http/protobuf" => Some(Protocol::Http),
            _ => None,
        })
    }

    /// Where a signal goes to.
    pub(super) fn endpoint(&self, signal: Signal, protocol: Protocol) -> Option<String> {
        const HINT: &str = "write a URL such as http://collector:4317";
        let plain = self.of(signal, "INSECURE", "write true or false", switch).unwrap_or(false);
        let parse = |text: &str| {
            let schemeless = protocol == Protocol::Grpc && !text.contains("://");
            let scheme = if plain { "http" } else { "https" };
            let text = if schemeless { format!("{scheme}://{text}") } else { text.to_owned() };
            url(&text).is_ok().then_some(text)
        };
        self.read(&own(signal, "ENDPOINT"), HINT, parse).or_else(|| {
            let base = self.read(&common("ENDPOINT"), HINT, parse)?;
            Some(signal.below(&base, protocol))
        })
    }

    /// How long an answer may take.
    pub(super) fn timeout(&self, signal: Signal) -> Option<Duration> {
        self.of(signal, "TIMEOUT", "write milliseconds, from 1 to 300000", |text| milliseconds(text, 300_000))
    }

    /// How often metrics are pushed.
    pub(super) fn interval(&self) -> Option<Duration> {
        let hint = "write milliseconds, from 1 to 3600000";
        self.read("OTEL_METRIC_EXPORT_INTERVAL", hint, |text| milliseconds(text, 3_600_000))
    }

    /// Notes headers that can't be read: the exporter itself takes those that can.
    pub(super) fn check_headers(&self, signal: Signal) {
        let (own, common) = (own(signal, "HEADERS"), common("HEADERS"));
        let name = if self.get(&own).is_some() { own } else { common };
        let Some(value) = self.get(&name) else { return };
        let good = |pair: &str| match pair.split_once('=') {
            Some((name, value)) => {
                is_header_name(name.trim()) && decoded(value.trim()).is_some_and(|value| is_header_value(&value))
            }
            None => false,
        };
        if !value.split_terminator(',').all(|pair| pair.trim().is_empty() || good(pair.trim())) {
            self.ignore(format!(
                "{name}: a part of it is ignored, as it can't be read; write name=value, with commas between"
            ));
        }
    }

    /// Notes what there is not of what the exporter reads by itself.
    pub(super) fn check_the_rest(&self, signal: Signal) {
        let one_of = |words: &[&str], text: &str| words.contains(&text.to_lowercase().as_str()).then_some(());
        self.of(signal, "COMPRESSION", "write gzip or none", |text| one_of(&["gzip", "none"], text));
        if signal == Signal::Metrics {
            let words = ["cumulative", "delta", "lowmemory"];
            let hint = "write cumulative, delta or lowmemory";
            self.read(&own(signal, "TEMPORALITY_PREFERENCE"), hint, |text| one_of(&words, text));
        }
    }

    /// Which share of the batches is traced. Batches have no parents, so those samplers are as the others.
    pub(super) fn sample(&self) -> Option<f64> {
        const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
        let hint = "write always_on, always_off or traceidratio";
        let share = |text: &str| text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        let parse = |text: &str| match text.strip_prefix("parentbased_").unwrap_or(text) {
            "always_on" => Some(1.0),
            "always_off" => Some(0.0),
            "traceidratio" => Some(self.read(ARGUMENT, "write a number from 0 to 1", share).unwrap_or(1.0)),
            _ => None,
        };
        self.read("OTEL_TRACES_SAMPLER", hint, parse)
    }

    /// What all telemetry is told apart by.
    pub(super) fn resource(&self) -> BTreeMap<String, String> {
        let parse = |text: &str| {
            let pair = |pair: &str| {
                let (name, value) = pair.split_once('=')?;
                let name = name.trim();
                if name.is_empty() { None } else { Some((name.to_owned(), decoded(value.trim())?)) }
            };
            text.split_terminator(',')
                .filter(|part| !part.trim().is_empty())
                .map(pair)
                .collect::<Option<BTreeMap<_, _>>>()
        };
        let hint = "write name=value, with commas between";
        let mut attributes = self.read("OTEL_RESOURCE_ATTRIBUTES", hint, parse).unwrap_or_default();
        if let Some(name) = self.get("OTEL_SERVICE_NAME") {
            attributes.insert("service.name".to_owned(), name.to_owned());
        }
        attributes
    }
}

fn own(signal: Signal, what: &str) -> String {
    format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.name().to_uppercase())
}

fn common(what: &str) -> String {
    format!("OTEL_EXPORTER_OTLP_{what}")
}

fn switch(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn milliseconds(text: &str, most: u64) -> Option<Duration> {
    text.parse().ok().filter(|number| (1..=most).contains(number)).map(Duration::from_millis)
}

/// With what stands for a sign as `%` and two digits.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// Whether a request can carry a header of this name beside what the protocols themselves put there.
pub(super) fn is_header_name(name: &str) -> bool {
    let signs = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.chars().all(signs) && !name.to_lowercase().starts_with("grpc-") && !name.ends_with("-bin")
}

/// Whether a header can have this value.
pub(super) fn is_header_value(value: &str) -> bool {
    !value.trim().is_empty() && value.chars().all(|c| c == ' ' || c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use secrecy::ExposeSecret;

    use super::super::load_str;
    use super::*;
    use crate::plan::telemetry::{Push, Telemetry};

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://everywhere:4317");

    fn try_read(section: &str, env: &[(&str, &str)]) -> Result<Telemetry, String> {
        let config = format!(
            "{{ telemetry: {{ {section} }}, clusters: {{ a: {{ bootstrap: \"h:1\" }}, b: {{ bootstrap: \"h:2\" }} }},
               routes: {{ r: {{ from: a, topics: {{ include: [x] }}, to: {{ b: {{}} }} }} }} }}"
        );
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let plan = load_str(&config, Path::new("/etc/anabranch"), &env).map_err(|error| error.to_string())?;
        Ok(plan.telemetry)
    }

    fn read(section: &str, env: &[(&str, &str)]) -> Telemetry {
        try_read(section, env).unwrap()
    }

    fn of(telemetry: &Telemetry) -> [Option<&Push>; 3] {
        [&telemetry.metrics, &telemetry.logs, &telemetry.traces].map(Option::as_ref)
    }

    fn endpoints(section: &str, env: &[(&str, &str)]) -> [Option<String>; 3] {
        of(&read(section, env)).map(|push| push.map(|push| push.endpoint.clone()))
    }

    fn everywhere(endpoint: &str) -> [Option<String>; 3] {
        [(); 3].map(|()| Some(endpoint.to_owned()))
    }

    #[test]
    fn nothing_is_pushed_unless_somebody_says_where_to() {
        assert_eq!(endpoints("", &[]), [None, None, None]);
        assert_eq!(endpoints("", &[ENDPOINT]), everywhere("http://everywhere:4317"));
        assert_eq!(endpoints("otlp: { endpoint: off }", &[ENDPOINT]), [None, None, None]);
        assert_eq!(endpoints("otlp: { endpoint: \"http://here:1\" }", &[ENDPOINT]), everywhere("http://here:1"));
        let disabled = ("OTEL_SDK_DISABLED", "TRUE");
        assert_eq!(endpoints("otlp: { endpoint: \"http://here:1\" }", &[disabled]), [None, None, None]);
    }

    #[test]
    fn over_http_each_signal_has_its_path() {
        let section = "otlp: { endpoint: \"https://here/otlp/\", protocol: http }";
        let expected = ["metrics", "logs", "traces"].map(|name| Some(format!("https://here/otlp/v1/{name}")));
        assert_eq!(endpoints(section, &[]), expected);
        let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        assert_eq!(endpoints("otlp: { endpoint: \"https://here/otlp\" }", &[protocol]), expected);
        // a signal's own is taken as it is
        let own = [("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs/as/is"), protocol];
        assert_eq!(endpoints("", &own), [None, Some("http://logs/as/is".to_owned()), None]);
    }

    #[test]
    fn the_file_goes_before_the_environment_key_by_key() {
        let env = [
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "true"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "3000"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ];
        let telemetry = read("", &env);
        let [metrics, logs, traces] = of(&telemetry);
        assert!(metrics.is_none());
        let (logs, traces) = (logs.unwrap(), traces.unwrap());
        assert_eq!((logs.timeout, traces.timeout), (Duration::from_secs(3), Duration::from_secs(2)));
        assert_eq!(traces.endpoint, "http://collector:4317");
        assert!((telemetry.sample - 0.25).abs() < 1e-9);
        let section = "traces: { sample: 0.5 }, otlp: { timeout: 4s, interval: 3s, signals: [metrics, traces],
            headers: { Authorization: \"Bearer hunter2\" }, ca: certs/ca.pem }";
        let telemetry = read(section, &env);
        let [metrics, logs, traces] = of(&telemetry);
        let metrics = metrics.unwrap();
        assert!(logs.is_none() && traces.is_some());
        assert_eq!((metrics.timeout, telemetry.interval), (Duration::from_secs(4), Duration::from_secs(3)));
        assert!((telemetry.sample - 0.5).abs() < 1e-9);
        assert_eq!(metrics.headers["authorization"].expose_secret(), "Bearer hunter2");
        assert_eq!(metrics.ca.as_deref(), Some(Path::new("/etc/anabranch/certs/ca.pem")));
        assert!(!format!("{telemetry:?}").contains("hunter2"));
    }

    #[test]
    fn attributes_come_from_both_and_the_file_goes_first() {
        let env = [
            ("OTEL_SERVICE_NAME", "copier"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other, zone = a%2Cb ,deployment.environment.name=test"),
        ];
        let telemetry = read("resource: { deployment.environment.name: production, rack: 7 }", &env);
        let expected =
            [("deployment.environment.name", "production"), ("rack", "7"), ("service.name", "copier"), ("zone", "a,b")];
        let found: Vec<_> = telemetry.resource.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_variable_that_cannot_be_read_is_ignored_with_a_word_and_without_its_value() {
        let bad = [
            ("OTEL_SDK_DISABLED", "hunter2"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "hunter2"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://hunter2"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "fine=1,hunter2"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "hunter2"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "hunter2"),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "hunter2"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
            ("OTEL_LOGS_EXPORTER", "hunter2"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=%zz"),
            ("OTEL_TRACES_SAMPLER", "hunter2"),
        ];
        let env: Vec<_> = bad.into_iter().chain([ENDPOINT]).collect();
        let telemetry = read("", &env);
        assert_eq!(of(&telemetry).map(|push| push.unwrap().endpoint.as_str()), ["http://everywhere:4317"; 3]);
        assert_eq!((telemetry.interval, telemetry.metrics.unwrap().timeout), (Telemetry::INTERVAL, Push::TIMEOUT));
        for (name, _) in bad {
            let told = telemetry.ignored.iter().filter(|line| line.starts_with(name)).count();
            assert_eq!(told, 1, "{name}: {:?}", telemetry.ignored);
        }
        assert_eq!(telemetry.ignored.len(), bad.len());
        assert!(!telemetry.ignored.join(" ").contains("hunter2"));
        // what nobody asks for is nobody's mistake
        assert_eq!(read("otlp: { endpoint: off }", &bad[1..10]).ignored, Vec::<String>::new());
    }

    #[test]
    fn a_mistake_in_the_file_is_told_with_its_path() {
        for (section, expected) in [
            ("otlp: { endpoint: \"collector:4317\" }", "telemetry.otlp.endpoint: `collector:4317` does not begin with"),
            ("otlp: { endpoint: \"http://\" }", "has no host with a port"),
            ("otlp: { endpoint: \"http://h:99999\" }", "has no host with a port"),
            ("otlp: { endpoint: \"http://[::1\" }", "has no host with a port"),
            ("otlp: { endpoint: \"http://u:hunter2@h:1\" }", "telemetry.otlp.endpoint: has a user in it"),
            ("otlp: { protocol: http/json }", "telemetry.otlp.protocol: `http/json` is not known"),
            ("otlp: { signals: [metric] }", "did you mean `metrics`?"),
            ("otlp: { interval: 10ms }", "telemetry.otlp.interval: 10ms is out of range"),
            ("otlp: { timeout: 1h }", "telemetry.otlp.timeout: 1h is out of range"),
            ("otlp: { headers: { \"a b\": hunter2 } }", "is no name of a header"),
            ("otlp: { headers: { grpc-timeout: hunter2 } }", "is no name of a header"),
            ("otlp: { headers: { key: \"hunter2\\n\" } }", "telemetry.otlp.headers.key: has something in it"),
            ("otlp: { headers: { key: } }", "telemetry.otlp.headers.key: is missing"),
            ("otlp: { headerz: {} }", "telemetry.otlp.headerz: unknown key; did you mean `headers`?"),
            ("traces: { sample: 1.5 }", "telemetry.traces.sample: 1.5 is out of range"),
            ("resource: { a: [1] }", "telemetry.resource.a: is a list, not one value"),
            ("per_partition: maybe", "telemetry.per_partition: `maybe` is not a switch"),
        ] {
            let told = try_read(section, &[]).unwrap_err();
            assert!(told.contains(expected) && !told.contains("hunter2"), "{section}: {told}");
        }
        for good in ["http://[::1]:4317", "https://collector", "http://c:1/some/path"] {
            assert!(try_read(&format!("otlp: {{ endpoint: \"{good}\" }}"), &[]).is_ok(), "{good}");
        }
    }
}
