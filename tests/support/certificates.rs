//! Certificates made on the spot: an authority, a broker's and a client's certificate, as PEM files.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};

/// Paths of PEM files in one folder.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority that signed the others.
    pub ca: PathBuf,
    /// The broker's private key and certificate in one file, as Kafka wants it.
    pub broker: PathBuf,
    pub client_cert: PathBuf,
    pub client_key: PathBuf,
    /// An authority that has signed nothing.
    pub stranger: PathBuf,
}

impl Certificates {
    /// Makes them; whoever listens as 127.0.0.1 or localhost may use the broker's.
    pub fn make(folder: &Path) -> Self {
        let (ca_pem, issuer) = authority("the tests' authority");
        let (stranger_pem, _) = authority("a stranger");
        let (broker_cert, broker_key) = signed("broker", &issuer);
        let (client_cert, client_key) = signed("relay", &issuer);
        let write = |name: &str, pem: &str| {
            let path = folder.join(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        Self {
            ca: write("ca.pem", &ca_pem),
            broker: write("broker.pem", &format!("{broker_key}{broker_cert}")),
            client_cert: write("client.pem", &client_cert),
            client_key: write("client.key", &client_key),
            stranger: write("stranger.pem", &stranger_pem),
        }
    }
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

fn signed(name: &str, issuer: &Issuer<'static, KeyPair>) -> (String, String) {
    let mut params = params(name);
    params.subject_alt_names =
        vec![SanType::DnsName("localhost".try_into().unwrap()), SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
