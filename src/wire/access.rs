//! What it takes to be let in by a cluster's brokers: made once of the plan, used for each connection.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::domain::fault::{Fault, FaultClass};
use crate::plan::{ClusterSpec, Sasl, Tls};

/// How long an answer may take that waits for nothing but the broker.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a cluster's brokers are reached.
pub(super) struct Access {
    /// The cluster's alias.
    pub(super) alias: String,
    /// `host:port` of some of its brokers.
    pub(super) bootstrap: Vec<String>,
    pub(super) tls: Option<TlsConnector>,
    pub(super) sasl: Option<Sasl>,
    /// How we are called.
    pub(super) client_id: String,
    /// How long an answer may take.
    pub(super) patience: Duration,
}

impl Access {
    /// Reads the certificates that the plan names.
    pub(super) fn of(cluster: &ClusterSpec) -> Result<Self, Fault> {
        let tls = cluster
            .security
            .tls
            .as_ref()
            .map(connector)
            .transpose()
            .map_err(|problem| Fault::new(FaultClass::Config, format!("cluster {}: {problem}", cluster.alias)))?;
        let property = |key: &str| cluster.client.get(key);
        let patience = property("socket.timeout.ms").and_then(|text| text.parse().ok()).map(Duration::from_millis);
        Ok(Self {
            alias: cluster.alias.clone(),
            bootstrap: cluster.bootstrap.clone(),
            tls,
            sasl: cluster.security.sasl.clone(),
            client_id: property("client.id").map_or("anabranch", String::as_str).to_owned(),
            patience: patience.unwrap_or(PATIENCE),
        })
    }

    /// A fault of the cluster that a broker or the way to it is to blame for.
    pub(super) fn fault(&self, class: FaultClass, broker: &str, what: impl std::fmt::Display) -> Fault {
        Fault::new(class, format!("cluster {}: {broker}: {what}", self.alias))
    }
}

fn connector(tls: &Tls) -> Result<TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.with_root_certificates(roots(tls.ca.as_deref())?);
    let config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let certificates = certificates(&identity.cert)?;
            let key = PrivateKeyDer::from_pem_file(&identity.key)
                .map_err(|error| format!("{} has no private key: {error}", identity.key.display()))?;
            builder
                .with_client_auth_cert(certificates, key)
                .map_err(|error| format!("{} can't be used: {error}", identity.cert.display()))?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let known = match ca {
        Some(ca) => certificates(ca)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(known);
    if roots.is_empty() {
        return Err(ca.map_or_else(
            || "this machine trusts no authority: name one as `security.ca`".to_owned(),
            |ca| format!("{} has no certificate of an authority", ca.display()),
        ));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let file = File::open(path).map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_reader_iter(BufReader::new(file)).collect();
    read.map_err(|error| format!("{} has no certificate: {error}", path.display()))
}
