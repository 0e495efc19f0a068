//! A connection to a broker that has let us in: what it was asked, and what it answered.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, RequestHeader, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::Instant;

use super::access::Access;
use super::cursor::{Cursor, Strange};
use super::inlet::Inlet;
use super::sasl::{self, Scram};
use super::socket::{Socket, Unconnected};
use crate::domain::fault::{Fault, FaultClass};
use crate::kafka::codes;
use crate::plan::{Sasl, SaslMechanism};

/// A connection on which one question is asked at a time.
pub(super) struct Connection {
    inlet: Inlet<ReadHalf<Socket>>,
    outlet: WriteHalf<Socket>,
    who: Who,
}

/// Whom we speak to, and in which versions.
pub(super) struct Who {
    /// The broker's `host:port`.
    pub(super) address: String,
    versions: Versions,
    client_id: StrBytes,
    asked: i32,
    /// From when on another connection is better: the broker ends this one once what proved us is too old.
    stale: Option<Instant>,
}

impl Who {
    /// The version in which both sides speak of `api`, of those from `least` to `most`.
    pub(super) fn version(&self, access: &Access, api: ApiKey, least: i16, most: i16) -> Result<i16, Fault> {
        let (lowest, highest) = self.versions.get(&(api as i16)).copied().unwrap_or((0, -1));
        let version = most.min(highest);
        if version >= least.max(lowest) {
            return Ok(version);
        }
        let what = format!("it does not speak {api:?} in a version from {least} to {most}");
        Err(access.fault(FaultClass::Config, &self.address, what))
    }

    /// From when on another connection has to take its place, if that is sure to come.
    pub(super) fn stale(&self) -> Option<Instant> {
        self.stale
    }

    /// Begins a request: room for its length, and its header. Says by what number its answer is known.
    pub(super) fn begin(&mut self, api: ApiKey, version: i16, into: &mut BytesMut) -> i32 {
        self.asked = self.asked.wrapping_add(1) & i32::MAX;
        let header = RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.asked)
            .with_client_id(Some(self.client_id.clone()));
        into.extend_from_slice(&[0; 4]);
        // it only fails where a text is longer than its length can say
        header.encode(into, api.request_header_version(version)).unwrap_or_default();
        self.asked
    }
}

/// What the first message of a request has to say of its length, once all of it is there.
pub(super) fn close(request: &mut BytesMut, besides: usize) {
    let length = u32::try_from(request.len() - 4 + besides).unwrap_or(u32::MAX);
    request[..4].copy_from_slice(&length.to_be_bytes());
}

impl Connection {
    /// Connects to a broker, asks for its versions, and proves who we are.
    pub(super) async fn open(access: &Access, address: &str) -> Result<Self, Fault> {
        let socket = Socket::connect(address, access.tls.as_ref()).await.map_err(|error| match error {
            Unconnected::Unreachable(error) => access.fault(FaultClass::System, address, error),
            Unconnected::Insecure(error) => access.fault(FaultClass::Config, address, format_args!("TLS: {error}")),
        })?;
        let (inlet, outlet) = tokio::io::split(socket);
        let client_id = StrBytes::from_string(access.client_id.clone());
        let who = Who { address: address.to_owned(), versions: Versions::new(), client_id, asked: 0, stale: None };
        let mut connection = Self { inlet: Inlet::new(inlet), outlet, who };
        let answer = connection.call(access, 0, &ApiVersionsRequest::default()).await?;
        let (code, versions) = versions(&answer).map_err(|strange| connection.strange(access, strange))?;
        connection.check(access, code, "its versions")?;
        connection.who.versions = versions;
        if let Some(sasl) = &access.sasl {
            connection.authenticate(access, sasl).await?;
        }
        Ok(connection)
    }

    /// Asks, and waits for the answer; gives what comes behind its header.
    pub(super) async fn call<R: Request>(
        &mut self,
        access: &Access,
        version: i16,
        request: &R,
    ) -> Result<Bytes, Fault> {
        let api = ApiKey::try_from(R::KEY).map_err(|()| self.strange(access, "a question that nobody knows"))?;
        let mut bytes = BytesMut::new();
        self.who.begin(api, version, &mut bytes);
        request.encode(&mut bytes, version).map_err(|error| self.strange(access, error))?;
        close(&mut bytes, 0);
        let answer = tokio::time::timeout(access.patience, self.exchange(&bytes)).await;
        let answer = answer.map_err(|_| self.broken(access, "no answer in time"))?;
        let mut answer = answer.map_err(|error| self.broken(access, error))?;
        decode_header::<R::Response>(&mut answer, version).map_err(|error| self.strange(access, error))?;
        Ok(answer)
    }

    /// The same, for an answer without lists: for those, the decoder would reserve as much as a broker says that there is.
    pub(super) async fn call_plain<R: Request>(
        &mut self,
        access: &Access,
        version: i16,
        request: &R,
    ) -> Result<R::Response, Fault> {
        let mut answer = self.call(access, version, request).await?;
        R::Response::decode(&mut answer, version).map_err(|error| self.strange(access, error))
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<Bytes> {
        self.outlet.write_all(request).await?;
        self.outlet.flush().await?;
        self.inlet.begin().await?;
        self.inlet.rest().await
    }

    async fn authenticate(&mut self, access: &Access, sasl: &Sasl) -> Result<(), Fault> {
        let name = sasl::name(sasl.mechanism);
        let handshake = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(name));
        let version = self.who.version(access, ApiKey::SaslHandshake, 1, 1)?;
        let answer = self.call(access, version, &handshake).await?;
        let code = Cursor::new(&answer, false).i16().map_err(|strange| self.strange(access, strange))?;
        self.check(access, code, &format!("SASL {name}"))?;
        if sasl.mechanism == SaslMechanism::Plain {
            return self.prove(access, sasl::plain(sasl)).await.map(drop);
        }
        let address = self.who.address.clone();
        let denied = |what: String| access.fault(FaultClass::Config, &address, format_args!("SASL {name}: {what}"));
        let mut scram = Scram::new(sasl).ok_or_else(|| denied("no randomness here".to_owned()))?;
        let challenge = self.prove(access, scram.first()).await?;
        let answer = scram.answer(&challenge, sasl);
        let last = self.prove(access, answer.map_err(denied)?).await?;
        if scram.is_proven(&last) { Ok(()) } else { Err(denied("it does not know the password itself".to_owned())) }
    }

    async fn prove(&mut self, access: &Access, bytes: Vec<u8>) -> Result<Bytes, Fault> {
        let version = self.who.version(access, ApiKey::SaslAuthenticate, 0, 1)?;
        let request = SaslAuthenticateRequest::default().with_auth_bytes(bytes.into());
        let answer = self.call_plain(access, version, &request).await?;
        if answer.error_code != 0 {
            let why = answer.error_message.as_deref().map_or_else(|| codes::text(answer.error_code), str::to_owned);
            return Err(access.fault(codes::class(answer.error_code), &self.who.address, why));
        }
        let lifetime = u64::try_from(answer.session_lifetime_ms).ok().filter(|lifetime| *lifetime > 0);
        self.who.stale = lifetime.map(|lifetime| Instant::now() + Duration::from_millis(lifetime) * 4 / 5);
        Ok(answer.auth_bytes)
    }

    fn check(&self, access: &Access, code: i16, what: &str) -> Result<(), Fault> {
        if code == 0 {
            return Ok(());
        }
        Err(access.fault(codes::class(code), &self.who.address, format_args!("{what}: {}", codes::text(code))))
    }

    fn broken(&self, access: &Access, why: impl std::fmt::Display) -> Fault {
        access.fault(FaultClass::System, &self.who.address, why)
    }

    /// A fault for an answer that can't be read.
    pub(super) fn strange(&self, access: &Access, why: impl std::fmt::Display) -> Fault {
        access.fault(FaultClass::System, &self.who.address, format_args!("its answer can't be read: {why}"))
    }

    /// Whether it leads to `address`, and goes on doing so.
    pub(super) fn is_fit_for(&self, address: &str) -> bool {
        self.who.address == address && self.who.stale.is_none_or(|stale| Instant::now() < stale)
    }

    /// Whom it leads to.
    pub(super) fn who(&self) -> &Who {
        &self.who
    }

    /// Its parts, for who asks and listens in ways of their own.
    pub(super) fn parts(&mut self) -> (&mut Inlet<ReadHalf<Socket>>, &mut WriteHalf<Socket>, &mut Who) {
        (&mut self.inlet, &mut self.outlet, &mut self.who)
    }

    /// The same, for good.
    pub(super) fn into_parts(self) -> (Inlet<ReadHalf<Socket>>, WriteHalf<Socket>, Who) {
        (self.inlet, self.outlet, self.who)
    }
}

/// Which versions of what a broker speaks.
pub(super) type Versions = HashMap<i16, (i16, i16)>;

/// Its answer to who asks for that, in version 0; all brokers understand that one.
pub(super) fn versions(answer: &[u8]) -> Result<(i16, Versions), Strange> {
    let mut answer = Cursor::new(answer, false);
    let code = answer.i16()?;
    let mut versions = Versions::new();
    for _ in 0..answer.count()? {
        versions.insert(answer.i16()?, (answer.i16()?, answer.i16()?));
    }
    Ok((code, versions))
}

/// Takes the header off an answer.
fn decode_header<R: HeaderVersion>(answer: &mut Bytes, version: i16) -> Result<(), String> {
    let version = R::header_version(version);
    kafka_protocol::messages::ResponseHeader::decode(answer, version).map(drop).map_err(|error| error.to_string())
}
