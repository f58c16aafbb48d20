//! Mutual TLS as Fabric runs it: 1.2 or 1.3, ALPN `h2`, a certificate on both sides.
//!
//! The server asks for a certificate and takes any whose key is proven: who it belongs to is said, signed, in the
//! ConnEstablish that names its hash. With `verify_clients` it must also lead to a root of client certificates. The client
//! checks the server's certificate against the TLS roots and the dialled host (fabric internal/pkg/comm).
//! What fails is told with the command that mends it: Go says "context deadline exceeded" (fabric issue 3138).

use crate::msp::folder::TlsIdentity;
use crate::msp::{PeerFolder, Trust};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
};
use std::io;
use std::sync::Arc;
use switchboard::Reason;
use switchboard::wire::{Fault, HandshakeError, Stage};

/// The one protocol spoken over it.
pub const ALPN: &[u8] = b"h2";

/// Takes any certificate whose key is proven.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        // A stream without a certificate is refused later, with a status that says so.
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The two ends' settings.
#[derive(Debug, Clone)]
pub struct TlsConfigs {
    /// For connections we accept.
    pub server: Arc<ServerConfig>,
    /// For connections we dial.
    pub client: Arc<ClientConfig>,
}

/// Why the TLS material of a peer folder is of no use.
#[derive(Debug, thiserror::Error)]
#[error("the TLS key, certificate or roots of the peer folder do not fit: {0}")]
pub struct TlsMaterial(#[from] pub rustls::Error);

fn store<'a>(
    roots: impl Iterator<Item = &'a CertificateDer<'static>>,
) -> Result<Arc<RootCertStore>, rustls::Error> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone())?;
    }
    Ok(Arc::new(store))
}

/// AES-128 goes first, as in Go: its key schedule is of SHA-256, which processors have instructions for.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let first = rustls::CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != first);
    provider
}

fn resolver(identity: &TlsIdentity) -> Arc<SingleCertAndKey> {
    Arc::new(SingleCertAndKey::from(identity.certified()))
}

/// Makes both settings from a peer folder, with the TLS roots of it and of whom we trust.
///
/// # Errors
/// [`TlsMaterial`].
pub fn configs(folder: &PeerFolder, trust: &Trust, verify_clients: bool) -> Result<TlsConfigs, TlsMaterial> {
    let provider = Arc::new(provider());
    let roots = store(folder.tls_roots.iter().chain(trust.tls_roots()))?;
    let verifier: Arc<dyn ClientCertVerifier> = if verify_clients {
        // Clients may have a CA of their own; then it is that one, for peers of other organisations too.
        let clients = match folder.client_roots.as_slice() {
            [] => Arc::clone(&roots),
            clients => store(clients.iter())?,
        };
        WebPkiClientVerifier::builder_with_provider(clients, Arc::clone(&provider))
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?
    } else {
        Arc::new(AnyCertificate(Arc::clone(&provider)))
    };
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver(&folder.tls));
    server.alpn_protocols = vec![ALPN.to_vec()];
    // Fabric turns session tickets off.
    server.send_tls13_tickets = 0;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_cert_resolver(resolver(folder.tls_client.as_ref().unwrap_or(&folder.tls)));
    client.alpn_protocols = vec![ALPN.to_vec()];
    Ok(TlsConfigs { server: Arc::new(server), client: Arc::new(client) })
}

fn refused(reason: Reason, detail: String) -> HandshakeError {
    HandshakeError::Peer { stage: Stage::Secure, fault: Fault { reason, detail: detail.into() } }
}

/// The peer gave TLS up: most often it does not know our CA.
pub(crate) fn alerted(error: io::Error) -> HandshakeError {
    let text = error.to_string();
    let detail = match text.to_ascii_lowercase() {
        t if t.contains("unknownca") || t.contains("badcertificate") || t.contains("certificateunknown") => {
            format!("{text}: there, --trust MSPID=DIR adds our CA")
        }
        t if t.contains("certificateexpired") => format!("{text}: our TLS certificate has expired: renew it"),
        t if t.contains("certificaterequired") => {
            format!("{text}: the peer asks for a TLS certificate of ours")
        }
        _ => text,
    };
    refused(Reason::AccessDenied, detail)
}

/// What an error of TLS means for a handshake.
pub(crate) fn failed(error: io::Error) -> HandshakeError {
    let Some(cause) = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) else {
        return HandshakeError::io(Stage::Secure, error);
    };
    let advice = match cause {
        rustls::Error::AlertReceived(_) => return alerted(error),
        rustls::Error::NoCertificatesPresented => "they showed no certificate",
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "certificate of an unknown TLS CA: --trust MSPID=DIR adds it"
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "certificate for other hosts: keygen --host NAME|IP names more",
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "expired TLS certificate: it has to be renewed",
        rustls::Error::InvalidCertificate(_) => "TLS certificate of no use",
        _ => return HandshakeError::breach(Stage::Secure, "TLS", error),
    };
    // Log lines are cut: what to do stands first.
    let detail = format!("{advice}: {error}");
    refused(Reason::InvalidIdentity, detail)
}
