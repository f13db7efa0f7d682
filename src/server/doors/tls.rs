//! From `tls_server_config` to what the TLS library takes. Certificates and keys are read here, and read again at each
//! reload.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{
    NamedGroup, ProtocolVersion, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version,
};

use super::client_cert::{AnyCertificate, NamedCertificate};
use super::file::{ClientAuth, FILE_BYTES_MAX, Fault, Pem, TlsSection};
use crate::fs::Fs;

/// Go's names of the groups that the library has.
const CURVES: [(&str, NamedGroup); 3] =
    [("X25519", NamedGroup::X25519), ("CurveP256", NamedGroup::secp256r1), ("CurveP384", NamedGroup::secp384r1)];

/// What TLS connections are served with.
pub(super) fn server_config(section: &TlsSection, http2: bool, fs: &dyn Fs) -> Result<Arc<ServerConfig>, Fault> {
    let name = |key: &str| format!("tls_server_config.{key}");
    let provider = Arc::new(provider(section)?);
    let versions: &[&SupportedProtocolVersion] = match section.versions {
        (13, _) => &[&version::TLS13],
        (_, 12) => &[&version::TLS12],
        _ => &[&version::TLS13, &version::TLS12],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| Fault::key(name("cipher_suites"), error.to_string()))?;

    let verifier = match section.client_auth {
        ClientAuth::None => None,
        ClientAuth::Request => Some(AnyCertificate::verifier(provider, false)),
        ClientAuth::RequireAny => Some(AnyCertificate::verifier(provider, true)),
        ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => {
            let key = name("client_ca_file");
            let mut roots = RootCertStore::empty();
            for certificate in certificates(section.client_ca.as_ref(), &key, fs)? {
                roots.add(certificate).map_err(|error| Fault::key(&key, error.to_string()))?;
            }
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let optional = section.client_auth == ClientAuth::VerifyIfGiven;
            let builder = if optional { builder.allow_unauthenticated() } else { builder };
            Some(builder.build().map_err(|error| Fault::key(&key, error.to_string()))?)
        }
    };
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(match &section.client_allowed_sans {
            Some(names) => NamedCertificate::verifier(verifier, names.clone()),
            None => verifier,
        }),
    };

    let chain = certificates(Some(&section.cert), &name("cert_file"), fs)?;
    let key_name = name("key_file");
    // What the parser says of a key that it cannot read stays out.
    let key = PrivateKeyDer::from_pem_slice(&read(&section.key, &key_name, fs)?)
        .map_err(|_| Fault::key(&key_name, "no private key in PEM"))?;
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| Fault::key(&key_name, format!("certificate and private key cannot be used: {error}")))?;
    config.ignore_client_order = section.prefer_server_cipher_suites;
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(Arc::new(config))
}

/// The library's algorithms, less those that the file leaves out.
fn provider(section: &TlsSection) -> Result<CryptoProvider, Fault> {
    let mut provider = ring::default_provider();
    if !section.cipher_suites.is_empty() {
        let is_13 = |suite: &SupportedCipherSuite| suite.version().version == ProtocolVersion::TLSv1_3;
        // As in Go, the list is one of suites up to TLS 1.2; those of 1.3 are always on.
        let mut suites: Vec<SupportedCipherSuite> = provider.cipher_suites.iter().copied().filter(is_13).collect();
        for name in &section.cipher_suites {
            let found = provider.cipher_suites.iter().find(|suite| suite_name(suite) == *name);
            let suite = found.ok_or_else(|| Fault::Value {
                key: "tls_server_config.cipher_suites".to_owned(),
                value: name.clone(),
                allowed: provider.cipher_suites.iter().map(suite_name).collect::<Vec<_>>().join(", "),
            })?;
            if !is_13(suite) {
                suites.push(*suite);
            }
        }
        provider.cipher_suites = suites;
    }
    if !section.curve_preferences.is_empty() {
        let mut groups = Vec::new();
        for name in &section.curve_preferences {
            let wanted = CURVES.iter().find(|(curve, _)| curve == name);
            let group = wanted.and_then(|(_, wanted)| provider.kx_groups.iter().find(|group| group.name() == *wanted));
            groups.push(*group.ok_or_else(|| Fault::Value {
                key: "tls_server_config.curve_preferences".to_owned(),
                value: name.clone(),
                allowed: CURVES.map(|(curve, _)| curve).join(", "),
            })?);
        }
        provider.kx_groups = groups;
    }
    Ok(provider)
}

/// A suite's name as Go writes it.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
}

fn certificates(pem: Option<&Pem>, key: &str, fs: &dyn Fs) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let bytes = pem.map_or(Ok(Vec::new()), |pem| read(pem, key, fs))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(Fault::key(key, "no certificate in PEM")),
        Err(error) => Err(Fault::key(key, format!("no certificate in PEM: {error}"))),
    }
}

fn read(pem: &Pem, key: &str, fs: &dyn Fs) -> Result<Vec<u8>, Fault> {
    match pem {
        Pem::Inline(text) => Ok(text.clone().into_bytes()),
        Pem::File(path) => read_file(fs, path, key),
    }
}

/// A file that a key names, if it is of a sane size.
pub(super) fn read_file(fs: &dyn Fs, path: &Path, key: &str) -> Result<Vec<u8>, Fault> {
    let read = || {
        let length = fs.open(path)?.len()?;
        if length > FILE_BYTES_MAX {
            return Err(io::Error::other(format!("{length} bytes, more than {FILE_BYTES_MAX}")));
        }
        fs.read(path)
    };
    let told =
        |error: io::Error| Fault::Read { key: key.to_owned(), path: path.to_owned(), message: error.to_string() };
    read().map_err(told)
}
