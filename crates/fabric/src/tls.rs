//! Mutual TLS as Fabric runs it: 1.2 or 1.3, ALPN `h2`, a certificate on both sides.
//!
//! The server asks for a certificate and takes any whose key is proven: who it belongs to is said, signed, in the
//! ConnEstablish that names its hash. With `verify_clients` it must also lead to a TLS root. The client
//! checks the server's certificate against the TLS roots and the dialled host (fabric internal/pkg/comm).

use crate::identity::TrustBundle;
use crate::msp::PeerFolder;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use std::sync::Arc;

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

/// Makes both settings from a peer folder, with the TLS roots of it and of whom we trust.
///
/// # Errors
/// [`TlsMaterial`].
pub fn configs(
    folder: &PeerFolder,
    trust: &TrustBundle,
    verify_clients: bool,
) -> Result<TlsConfigs, TlsMaterial> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in folder.tls_roots.iter().chain(trust.tls_roots()) {
        roots.add(root.clone())?;
    }
    let roots = Arc::new(roots);
    let verifier: Arc<dyn ClientCertVerifier> = if verify_clients {
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?
    } else {
        Arc::new(AnyCertificate(Arc::clone(&provider)))
    };
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(folder.tls_chain.clone(), folder.tls_key.clone_key())?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    // Fabric turns session tickets off.
    server.send_tls13_tickets = 0;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(folder.tls_chain.clone(), folder.tls_key.clone_key())?;
    client.alpn_protocols = vec![ALPN.to_vec()];
    Ok(TlsConfigs { server: Arc::new(server), client: Arc::new(client) })
}
