//! A drill's way to a gateway that speaks TLS or expects PROXY heads: a loopback port of this process in front of it.
//!
//! Which server answers is certain, because its certificate is the one that the configuration names, byte for byte: names and
//! authorities do not matter on the way from a machine to itself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::config::Config;

/// A PROXY head, version 2, that says that the connection is the proxy's own.
const PROXY_LOCAL: [u8; 16] =
    [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x20, 0x00, 0x00, 0x00];

/// How the gateway has to be spoken to.
struct Manner {
    tls: Option<TlsConnector>,
    proxy_protocol: bool,
}

/// Where plain HTTP reaches the gateway: its own address, or a port in front of it that lives as long as the runtime.
pub(super) async fn open(config: &Config, gateway: SocketAddr) -> anyhow::Result<SocketAddr> {
    let tls = config.server.tls_certificate.as_deref().map(connector).transpose()?;
    let manner = Arc::new(Manner { tls, proxy_protocol: config.server.proxy_protocol });
    if manner.tls.is_none() && !manner.proxy_protocol {
        return Ok(gateway);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no loopback port is free")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        // A port that can not be accepted from any more fails the requests that need it.
        while let Ok((stream, _)) = listener.accept().await {
            let manner = manner.clone();
            // What goes wrong on one connection its request says.
            tokio::spawn(async move { carry(stream, gateway, &manner).await });
        }
    });
    Ok(address)
}

async fn carry(mut near: TcpStream, gateway: SocketAddr, manner: &Manner) -> io::Result<()> {
    near.set_nodelay(true)?;
    let mut far = TcpStream::connect(gateway).await?;
    far.set_nodelay(true)?;
    if manner.proxy_protocol {
        far.write_all(&PROXY_LOCAL).await?;
    }
    match &manner.tls {
        None => copy_bidirectional(&mut near, &mut far).await.map(drop),
        Some(connector) => {
            let mut far = connector.connect(ServerName::IpAddress(gateway.ip().into()), far).await?;
            copy_bidirectional(&mut near, &mut far).await.map(drop)
        }
    }
}

fn connector(certificate: &std::path::Path) -> anyhow::Result<TlsConnector> {
    use rustls::pki_types::pem::PemObject as _;
    let pinned = CertificateDer::from_pem_file(certificate).with_context(|| {
        format!("[server] tls_certificate: {} holds no certificate", certificate.display())
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Pinned { certificate: pinned, provider: provider.clone() });
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(tls)))
}

/// Trusts one certificate and no other.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(
            "the gateway shows another certificate than its configuration names".to_owned(),
        ))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
