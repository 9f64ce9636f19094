//! Whom to trust: the system's certificates, or Mozilla's where the system has none, and some of the operator's own.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Certificates of authorities, ready for use. Cheap to clone.
#[derive(Clone)]
pub struct Trust {
    pub(crate) tls: Arc<ClientConfig>,
    /// The same, for the library that builds its own.
    pub(crate) roots: Arc<Vec<CertificateDer<'static>>>,
    /// Whether Mozilla's are trusted, because the system has none.
    pub(crate) mozilla: bool,
}

/// Why certificates can not be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Not PEM, or no certificate in it.
    #[error("holds no certificate in PEM")]
    NoCertificate,
    /// What TLS says.
    #[error("can not be used for TLS")]
    Tls(#[from] rustls::Error),
}

impl Trust {
    /// The system's certificates and those of `own`, in PEM.
    ///
    /// # Errors
    ///
    /// When `own` holds no certificate, or one that can not be used.
    pub fn new(own: Option<&[u8]>) -> Result<Self, TrustError> {
        let mut store = RootCertStore::empty();
        let mut roots = Vec::new();
        for certificate in rustls_native_certs::load_native_certs().certs {
            if store.add(certificate.clone()).is_ok() {
                roots.push(certificate);
            }
        }
        let mozilla = store.is_empty();
        if mozilla {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if let Some(pem) = own {
            let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            let certificates = certificates.map_err(|_| TrustError::NoCertificate)?;
            if certificates.is_empty() {
                return Err(TrustError::NoCertificate);
            }
            for certificate in certificates {
                store.add(certificate.clone())?;
                roots.push(certificate);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        tls.alpn_protocols = Vec::new();
        Ok(Self { tls: Arc::new(tls), roots: Arc::new(roots), mozilla })
    }
}
