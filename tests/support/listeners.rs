//! The listeners of a broker, and what its properties say about them.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::agent::try_ask;
use super::certificates::Certificates;

/// Whom the listeners with SASL let in, by PLAIN: an instance of `CKafka` and its user, joined as `CKafka` joins them.
pub const PLAIN_USER: &str = "ckafka-80o10xxx#relay";
pub const PLAIN_PASSWORD: &str = "plain-Secret-4711";
/// Whom they let in by SCRAM.
pub const SCRAM_USER: &str = "relay";
pub const SCRAM_256_PASSWORD: &str = "scram256-Secret-4712";
pub const SCRAM_512_PASSWORD: &str = "scram512-Secret-4713";

/// A way into a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listener {
    Plaintext,
    /// For the clients of a cluster of three, which reach it through a proxy.
    Client,
    /// `sasl_plaintext`: PLAIN and both SCRAMs.
    Sasl,
    /// `ssl`.
    Tls,
    /// `ssl`, and the client shows a certificate too.
    MutualTls,
    /// `sasl_ssl`: PLAIN and both SCRAMs.
    SaslTls,
    /// The broker's own.
    Controller,
}

impl Listener {
    /// All but the one without security, which every broker has.
    pub const SECURE: [Self; 4] = [Self::Sasl, Self::Tls, Self::MutualTls, Self::SaslTls];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Client => "CLIENT",
            Self::Sasl => "SASL",
            Self::Tls => "TLS",
            Self::MutualTls => "MUTUAL",
            Self::SaslTls => "SASLTLS",
            Self::Controller => "CONTROLLER",
        }
    }

    pub const fn protocol(self) -> &'static str {
        match self {
            Self::Plaintext | Self::Client | Self::Controller => "PLAINTEXT",
            Self::Sasl => "SASL_PLAINTEXT",
            Self::Tls | Self::MutualTls => "SSL",
            Self::SaslTls => "SASL_SSL",
        }
    }

    const fn has_sasl(self) -> bool {
        matches!(self, Self::Sasl | Self::SaslTls)
    }

    const fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::MutualTls | Self::SaslTls)
    }

    /// The broker's properties for this listener.
    pub fn properties(self, certificates: &Certificates) -> String {
        let prefix = format!("listener.name.{}.", self.name().to_lowercase());
        let mut text = String::new();
        let mut set = |key: &str, value: &str| writeln!(text, "{prefix}{key}={value}").unwrap();
        if self.has_sasl() {
            let modules = "org.apache.kafka.common.security";
            let plain =
                format!("{modules}.plain.PlainLoginModule required \"user_{PLAIN_USER}\"=\"{PLAIN_PASSWORD}\";");
            let scram = format!("{modules}.scram.ScramLoginModule required;");
            set("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512");
            set("plain.sasl.jaas.config", &plain);
            set("scram-sha-256.sasl.jaas.config", &scram);
            set("scram-sha-512.sasl.jaas.config", &scram);
        }
        if self.has_tls() {
            let path = |path: &Path| path.display().to_string();
            set("ssl.keystore.type", "PEM");
            set("ssl.keystore.location", &path(&certificates.broker));
            set("ssl.truststore.type", "PEM");
            set("ssl.truststore.location", &path(&certificates.ca));
            set("ssl.client.auth", if self == Self::MutualTls { "required" } else { "none" });
        }
        text
    }
}

/// What the storage is formatted with, so that SCRAM's users exist from the start.
pub fn scram_users() -> Vec<String> {
    [("SCRAM-SHA-256", SCRAM_256_PASSWORD), ("SCRAM-SHA-512", SCRAM_512_PASSWORD)]
        .iter()
        .flat_map(|(mechanism, password)| {
            ["--add-scram".to_owned(), format!("{mechanism}=[name={SCRAM_USER},password={password}]")]
        })
        .collect()
}

/// A way into a secure broker, with the `security` that the engine's config needs for it.
#[derive(Clone, Debug)]
pub struct WayIn {
    pub name: &'static str,
    pub listener: Listener,
    pub security: Value,
}

impl WayIn {
    /// Whether Java gets in, with the same security; its complaint if not.
    pub fn admits_java(&self, bootstrap: &str) -> Result<(), String> {
        self.shows_java(bootstrap, None)
    }

    /// Whether Java gets in and is shown the topic, if there is one; its complaint if not.
    pub fn shows_java(&self, bootstrap: &str, topic: Option<&str>) -> Result<(), String> {
        let text = |key: &str| self.security[key].as_str().unwrap_or_default();
        let mut properties = json!({ "security.protocol": text("protocol").to_uppercase() });
        if !text("mechanism").is_empty() {
            let module = if text("mechanism") == "plain" { "plain.Plain" } else { "scram.Scram" };
            let user = if text("instance").is_empty() { SCRAM_USER } else { PLAIN_USER };
            properties["sasl.mechanism"] = json!(text("mechanism").to_uppercase());
            properties["sasl.jaas.config"] = json!(format!(
                "org.apache.kafka.common.security.{module}LoginModule required username=\"{user}\" password=\"{}\";",
                text("password")
            ));
        }
        if !text("ca").is_empty() {
            properties["ssl.truststore.type"] = json!("PEM");
            properties["ssl.truststore.location"] = json!(text("ca"));
        }
        if !text("cert").is_empty() {
            let read = |key: &str| std::fs::read_to_string(text(key)).unwrap();
            properties["ssl.keystore.type"] = json!("PEM");
            properties["ssl.keystore.certificate.chain"] = json!(read("cert"));
            properties["ssl.keystore.key"] = json!(read("key"));
        }
        try_ask("enter", json!({ "bootstrap": bootstrap, "properties": properties, "topic": topic })).map(|_| ())
    }
}

/// All that a broker with the secure listeners offers.
pub fn ways_in(certificates: &Certificates) -> Vec<WayIn> {
    let path = |path: &Path| path.display().to_string();
    let ca = path(&certificates.ca);
    let (cert, key) = (path(&certificates.client_cert), path(&certificates.client_key));
    let scram_256 = json!({ "mechanism": "scram-sha-256", "username": SCRAM_USER, "password": SCRAM_256_PASSWORD });
    let scram_512 = json!({ "mechanism": "scram-sha-512", "username": SCRAM_USER, "password": SCRAM_512_PASSWORD });
    let (instance, user) = PLAIN_USER.split_once('#').unwrap();
    let plain = json!({ "mechanism": "plain", "instance": instance, "username": user, "password": PLAIN_PASSWORD });
    let over = |protocol: &str, mut security: Value| {
        security["protocol"] = json!(protocol);
        if protocol == "sasl_ssl" {
            security["ca"] = json!(ca);
        }
        security
    };
    let way = |name, listener, security| WayIn { name, listener, security };
    vec![
        way("plain", Listener::Sasl, over("sasl_plaintext", plain.clone())),
        way("scram_256", Listener::Sasl, over("sasl_plaintext", scram_256)),
        way("scram_512", Listener::Sasl, over("sasl_plaintext", scram_512.clone())),
        way("tls", Listener::Tls, json!({ "protocol": "ssl", "ca": ca })),
        way("mutual_tls", Listener::MutualTls, json!({ "protocol": "ssl", "ca": ca, "cert": cert, "key": key })),
        way("plain_tls", Listener::SaslTls, over("sasl_ssl", plain)),
        way("scram_tls", Listener::SaslTls, over("sasl_ssl", scram_512)),
    ]
}
