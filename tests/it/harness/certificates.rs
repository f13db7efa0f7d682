//! Certificates for tests of TLS, and a client that speaks it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::http::{self, Response};

/// An authority that signs certificates into a directory.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority; its certificate goes to `ca.crt`.
    pub fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.join("ca.crt"), issuer.pem()).unwrap();
        Authority { issuer }
    }

    /// Signs a certificate for a name; it and its key go to `NAME.crt` and `NAME.key`. Gives the key's text.
    pub fn sign(&self, dir: &Path, file: &str, names: &[&str]) -> String {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        std::fs::write(dir.join(format!("{file}.crt")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).unwrap();
        key.serialize_pem()
    }
}

/// A client that trusts the authority of `dir`, with the certificate of this name if there is one.
pub fn client(dir: &Path, certificate: Option<&str>) -> Arc<ClientConfig> {
    let read = |name: String| std::fs::read(dir.join(name)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&read("ca.crt".to_owned())).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match certificate {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = vec![CertificateDer::from_pem_slice(&read(format!("{name}.crt"))).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(&read(format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

/// Sends one request over TLS.
pub fn request(
    client: &Arc<ClientConfig>,
    address: SocketAddr,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(client.clone(), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, http::connect(address)?);
    http::request_on(&mut stream, address, method, path, headers, body)
}
