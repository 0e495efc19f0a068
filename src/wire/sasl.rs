//! How a password is proven: SASL PLAIN (RFC 4616) and SCRAM (RFC 5802, 7677), as far as they do not speak of Kafka.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};
use secrecy::ExposeSecret;

use crate::plan::{Sasl, SaslMechanism};

/// A server may ask for so many rounds: more would only keep us busy.
const MOST_ROUNDS: u32 = 1_000_000;

/// The name that Kafka knows a mechanism by.
pub(super) fn name(mechanism: SaslMechanism) -> &'static str {
    match mechanism {
        SaslMechanism::Plain => "PLAIN",
        SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
        SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
    }
}

/// The one message of PLAIN.
pub(super) fn plain(sasl: &Sasl) -> Vec<u8> {
    format!("\0{}\0{}", sasl.username, sasl.password.expose_secret()).into_bytes()
}

/// A conversation by SCRAM, from the client's side.
pub(super) struct Scram {
    hmac: hmac::Algorithm,
    rounds: pbkdf2::Algorithm,
    nonce: String,
    first: String,
    server: Option<Vec<u8>>,
}

impl Scram {
    /// Begins one; `None` where this machine has no randomness.
    pub(super) fn new(sasl: &Sasl) -> Option<Self> {
        let mut nonce = [0; 24];
        SystemRandom::new().fill(&mut nonce).ok()?;
        Some(Self::with_nonce(sasl, BASE64.encode(nonce)))
    }

    fn with_nonce(sasl: &Sasl, nonce: String) -> Self {
        let (hmac, rounds) = match sasl.mechanism {
            SaslMechanism::ScramSha512 => (hmac::HMAC_SHA512, pbkdf2::PBKDF2_HMAC_SHA512),
            SaslMechanism::Plain | SaslMechanism::ScramSha256 => (hmac::HMAC_SHA256, pbkdf2::PBKDF2_HMAC_SHA256),
        };
        let name = sasl.username.replace('=', "=3D").replace(',', "=2C");
        Self { hmac, rounds, first: format!("n={name},r={nonce}"), nonce, server: None }
    }

    /// The client's first message.
    pub(super) fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.first).into_bytes()
    }

    /// The client's last message, in answer to the server's first.
    pub(super) fn answer(&mut self, challenge: &[u8], sasl: &Sasl) -> Result<Vec<u8>, String> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| "its challenge is no text".to_owned())?;
        let missing = |what: &str| format!("its challenge has no {what}");
        let nonce = attribute(challenge, "r=").ok_or_else(|| missing("nonce"))?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("its challenge is not for us".to_owned());
        }
        let salt =
            attribute(challenge, "s=").and_then(|salt| BASE64.decode(salt).ok()).ok_or_else(|| missing("salt"))?;
        let rounds = attribute(challenge, "i=").and_then(|rounds| rounds.parse::<NonZeroU32>().ok());
        let rounds = rounds.ok_or_else(|| missing("number of rounds"))?;
        if rounds.get() > MOST_ROUNDS {
            return Err(format!("it asks for {rounds} rounds"));
        }
        let mut salted = vec![0; self.hmac.digest_algorithm().output_len()];
        pbkdf2::derive(self.rounds, rounds, &salt, sasl.password.expose_secret().as_bytes(), &mut salted);
        let unproven = format!("c=biws,r={nonce}");
        let all = format!("{},{challenge},{unproven}", self.first);
        let client = self.sign(&salted, b"Client Key");
        let stored = digest::digest(self.hmac.digest_algorithm(), &client);
        let signature = self.sign(stored.as_ref(), all.as_bytes());
        let proof: Vec<u8> = client.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let server = self.sign(&salted, b"Server Key");
        self.server = Some(self.sign(&server, all.as_bytes()));
        Ok(format!("{unproven},p={}", BASE64.encode(proof)).into_bytes())
    }

    /// Whether the server has proven that it knows the password, too.
    pub(super) fn is_proven(&self, last: &[u8]) -> bool {
        let last = std::str::from_utf8(last).ok().and_then(|last| attribute(last, "v="));
        let said = last.and_then(|proof| BASE64.decode(proof).ok());
        said.is_some() && said == self.server
    }

    fn sign(&self, key: &[u8], text: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(self.hmac, key), text).as_ref().to_vec()
    }
}

fn attribute<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.split(',').find_map(|part| part.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The conversation of RFC 7677, section 3.
    #[test]
    fn scram_is_as_the_rfc_has_it() {
        let sasl =
            Sasl { mechanism: SaslMechanism::ScramSha256, username: "user".to_owned(), password: "pencil".into() };
        let mut scram = Scram::with_nonce(&sasl, "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let answer = scram.answer(challenge, &sasl).unwrap();
        let proof = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(String::from_utf8(answer).unwrap(), proof);
        assert!(scram.is_proven(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!scram.is_proven(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="));
        assert!(!scram.is_proven(b"e=other-error"));
    }

    #[test]
    fn a_challenge_that_makes_no_sense_is_refused() {
        let sasl =
            Sasl { mechanism: SaslMechanism::ScramSha512, username: "a=b,c".to_owned(), password: "secret".into() };
        let mut scram = Scram::with_nonce(&sasl, "abc".to_owned());
        assert_eq!(scram.first(), b"n,,n=a=3Db=2Cc,r=abc");
        for challenge in [
            "",
            "r=abc,s=AAAA,i=4096",
            "r=xyz1,s=AAAA,i=4096",
            "r=abc1,s=!,i=4096",
            "r=abc1,s=AAAA,i=0",
            "r=abc1,s=AAAA,i=4294967295",
            "r=abc1,s=AAAA",
        ] {
            assert!(scram.answer(challenge.as_bytes(), &sasl).is_err(), "{challenge}");
        }
        assert!(scram.answer(&[0xff], &sasl).is_err());
    }
}
