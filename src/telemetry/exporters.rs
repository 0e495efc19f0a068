//! The exporters: how each signal is sent to who takes it, by gRPC or by HTTP, in the clear or encrypted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, Protocol as Spoken, SpanExporter, WithExportConfig,
    WithHttpConfig, WithTonicConfig,
};
use secrecy::ExposeSecret as _;
use tokio::runtime::Handle;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use ureq::Agent;
use ureq::http::{HeaderName, HeaderValue};
use ureq::tls::{PemItem, RootCerts, TlsConfig};

use crate::plan::telemetry::{Protocol, Push};

/// How often a quiet connection is asked whether the other side is there, and how long it may take to answer: without, one
/// that is gone is noticed after a quarter of an hour.
const ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// More than this is not read of an answer.
const LONGEST_ANSWER: u64 = 1 << 20;

/// Why telemetry can't be pushed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The authorities to trust can't be read.
    #[error("telemetry.otlp.ca: {file}: {why}; give the path of a PEM file with certificates", file = file.display())]
    Authorities {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system has no authorities.
    #[error("telemetry.otlp: the system has no authorities to trust; give `telemetry.otlp.ca`")]
    NoAuthorities,
    /// The exporter refuses what it was told.
    #[error(
        "telemetry.otlp: nothing can be sent to {endpoint}: {why}; see `telemetry.otlp` and the variables OTEL_EXPORTER_OTLP_*"
    )]
    Refused {
        /// Where to.
        endpoint: String,
        /// What is wrong.
        why: String,
    },
    /// The system does not let it have what it needs.
    #[error("telemetry can't be set up: {0}")]
    System(#[from] std::io::Error),
}

impl TelemetryError {
    fn refused(push: &Push, why: &(impl ToString + ?Sized)) -> Self {
        Self::Refused { endpoint: push.endpoint.clone(), why: why.to_string() }
    }
}

type Built<T> = Result<T, TelemetryError>;

/// What sends spans.
pub(super) fn spans(push: &Push, runtime: &Handle) -> Built<SpanExporter> {
    let refused = |error: ExporterBuildError| TelemetryError::refused(push, &error);
    match push.protocol {
        Protocol::Grpc => by_grpc(SpanExporter::builder().with_tonic(), push, runtime)?.build().map_err(refused),
        Protocol::Http => by_http(SpanExporter::builder().with_http(), push)?.build().map_err(refused),
    }
}

/// What sends log records.
pub(super) fn logs(push: &Push, runtime: &Handle) -> Built<LogExporter> {
    let refused = |error: ExporterBuildError| TelemetryError::refused(push, &error);
    match push.protocol {
        Protocol::Grpc => by_grpc(LogExporter::builder().with_tonic(), push, runtime)?.build().map_err(refused),
        Protocol::Http => by_http(LogExporter::builder().with_http(), push)?.build().map_err(refused),
    }
}

/// What sends metrics.
pub(super) fn metrics(push: &Push, runtime: &Handle) -> Built<MetricExporter> {
    let refused = |error: ExporterBuildError| TelemetryError::refused(push, &error);
    match push.protocol {
        Protocol::Grpc => by_grpc(MetricExporter::builder().with_tonic(), push, runtime)?.build().map_err(refused),
        Protocol::Http => by_http(MetricExporter::builder().with_http(), push)?.build().map_err(refused),
    }
}

fn by_grpc<B: WithExportConfig + WithTonicConfig>(builder: B, push: &Push, runtime: &Handle) -> Built<B> {
    let mut headers = Vec::<(MetadataKey<Ascii>, MetadataValue<Ascii>)>::new();
    for (name, value) in &push.headers {
        let unfit = |_| TelemetryError::refused(push, &format!("gRPC has no header {name}"));
        let key = name.parse().map_err(unfit)?;
        let mut value: MetadataValue<Ascii> = value
            .expose_secret()
            .parse()
            .map_err(|_| TelemetryError::refused(push, &format!("the header {name} is unfit")))?;
        value.set_sensitive(true);
        headers.push((key, value));
    }
    // the exporter has put those of the environment there already
    let with_headers = move |mut request: tonic::Request<()>| {
        for (name, value) in &headers {
            request.metadata_mut().insert(name.clone(), value.clone());
        }
        Ok(request)
    };
    let channel = channel(push, runtime)?;
    Ok(builder.with_channel(channel).with_timeout(push.timeout).with_interceptor(with_headers))
}

fn channel(push: &Push, runtime: &Handle) -> Built<Channel> {
    let refused = |error: tonic::transport::Error| TelemetryError::refused(push, &error);
    let mut endpoint = Endpoint::from_shared(push.endpoint.clone()).map_err(refused)?;
    if is_encrypted(push) {
        let tls = match &push.ca {
            Some(file) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(file)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        endpoint = endpoint.tls_config(tls).map_err(refused)?;
    }
    let endpoint = endpoint
        .timeout(push.timeout)
        .connect_timeout(push.timeout)
        .http2_keep_alive_interval(ALIVE.0)
        .keep_alive_timeout(ALIVE.1);
    let _entered = runtime.enter();
    Ok(endpoint.connect_lazy())
}

fn is_encrypted(push: &Push) -> bool {
    push.endpoint.starts_with("https://")
}

fn read(file: &Path) -> Built<Vec<u8>> {
    std::fs::read(file).map_err(|error| TelemetryError::Authorities {
        file: file.to_path_buf(),
        why: format!("can't be read ({error})"),
    })
}

fn by_http<B: WithExportConfig + WithHttpConfig>(builder: B, push: &Push) -> Built<B> {
    let builder = builder.with_protocol(Spoken::HttpBinary).with_endpoint(push.endpoint.clone());
    Ok(builder.with_timeout(push.timeout).with_http_client(Http::new(push)?))
}

/// Sends by HTTP. It blocks, on a thread that the SDK has for this alone.
#[derive(Debug)]
struct Http {
    agent: Agent,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Http {
    fn new(push: &Push) -> Built<Self> {
        let mut headers = Vec::new();
        for (name, value) in &push.headers {
            let unfit = || TelemetryError::refused(push, &format!("the header {name} is unfit"));
            let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| unfit())?;
            value.set_sensitive(true);
            headers.push((name.parse().map_err(|_| unfit())?, value));
        }
        let mut config = Agent::config_builder()
            .timeout_global(Some(push.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None);
        if is_encrypted(push) {
            config = config.tls_config(tls(push)?);
        }
        Ok(Self { agent: config.build().new_agent(), headers })
    }
}

fn tls(push: &Push) -> Built<TlsConfig> {
    let authorities = match &push.ca {
        Some(file) => {
            let unfit = |why: &str| TelemetryError::Authorities { file: file.clone(), why: why.to_owned() };
            let text = read(file)?;
            let items =
                ureq::tls::parse_pem(&text).collect::<Result<Vec<_>, _>>().map_err(|_| unfit("is no PEM file"))?;
            let certificate = |item| if let PemItem::Certificate(found) = item { Some(found) } else { None };
            let found: Vec<_> = items.into_iter().filter_map(certificate).collect();
            if found.is_empty() {
                return Err(unfit("has no certificate in it"));
            }
            found
        }
        None => {
            let known = rustls_native_certs::load_native_certs().certs;
            known.iter().map(|der| ureq::tls::Certificate::from_der(der.as_ref()).to_owned()).collect()
        }
    };
    if authorities.is_empty() {
        return Err(TelemetryError::NoAuthorities);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = RootCerts::Specific(Arc::new(authorities));
    Ok(TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build())
}

#[async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut parts, body) = request.into_parts();
        for (name, value) in &self.headers {
            parts.headers.insert(name.clone(), value.clone());
        }
        let answer = self.agent.run(Request::from_parts(parts, body.to_vec()))?;
        let (parts, mut body) = answer.into_parts();
        let body = body.with_config().limit(LONGEST_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(parts, Bytes::from(body)))
    }
}
