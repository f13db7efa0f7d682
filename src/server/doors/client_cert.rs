//! The checks of clients' certificates that the TLS library does not bring: any certificate, and names that are allowed.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// Takes any certificate of which the client has the private key, whoever signed it.
#[derive(Debug)]
pub(super) struct AnyCertificate {
    provider: Arc<CryptoProvider>,
    mandatory: bool,
}

impl AnyCertificate {
    pub(super) fn verifier(provider: Arc<CryptoProvider>, mandatory: bool) -> Arc<dyn ClientCertVerifier> {
        Arc::new(AnyCertificate { provider, mandatory })
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What another verifier takes, if one of the certificate's alternative names is on the list.
#[derive(Debug)]
pub(super) struct NamedCertificate {
    inner: Arc<dyn ClientCertVerifier>,
    allowed: Vec<String>,
}

impl NamedCertificate {
    pub(super) fn verifier(inner: Arc<dyn ClientCertVerifier>, allowed: Vec<String>) -> Arc<dyn ClientCertVerifier> {
        Arc::new(NamedCertificate { inner, allowed })
    }
}

impl ClientCertVerifier for NamedCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(certificate, between, now)?;
        let names = alternative_names(certificate).unwrap_or_default();
        if names.iter().any(|name| self.allowed.contains(name)) {
            Ok(verified)
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// DER tags of a certificate's parts on the way to its extensions.
mod tag {
    pub(super) const SEQUENCE: u8 = 0x30;
    pub(super) const OBJECT_ID: u8 = 0x06;
    pub(super) const OCTETS: u8 = 0x04;
    pub(super) const EXTENSIONS: u8 = 0xa3;
    pub(super) const EMAIL: u8 = 0x81;
    pub(super) const DNS: u8 = 0x82;
    pub(super) const URI: u8 = 0x86;
    pub(super) const ADDRESS: u8 = 0x87;
}

/// The object id 2.5.29.17, subjectAltName.
const ALTERNATIVE_NAMES: [u8; 3] = [0x55, 0x1d, 0x11];

/// The alternative names of a certificate: host names, e-mail addresses, URIs, and addresses as text. `None` where it has
/// none, or is not DER.
///
/// Source: RFC 5280, 4.1 and 4.2.1.6.
fn alternative_names(certificate: &[u8]) -> Option<Vec<String>> {
    let (_, certificate, _) = element(certificate).filter(|(tag, ..)| *tag == tag::SEQUENCE)?;
    let (_, signed, _) = element(certificate).filter(|(tag, ..)| *tag == tag::SEQUENCE)?;
    let extensions = elements(signed).find(|(tag, _)| *tag == tag::EXTENSIONS)?.1;
    let (_, extensions, _) = element(extensions)?;
    let names = elements(extensions).find_map(|(_, extension)| {
        let mut parts = elements(extension);
        let (tag, id) = parts.next()?;
        if tag != tag::OBJECT_ID || id != ALTERNATIVE_NAMES {
            return None;
        }
        // Between the two may stand whether the extension is critical.
        parts.find(|(tag, _)| *tag == tag::OCTETS).map(|(_, value)| value)
    })?;
    let (_, names, _) = element(names)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let name = |(tag, bytes): (u8, &[u8])| match tag {
        tag::EMAIL | tag::DNS | tag::URI => text(bytes),
        tag::ADDRESS => match bytes.len() {
            4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string()),
            16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    };
    Some(elements(names).filter_map(name).collect())
}

/// The elements that stand one after the other in `bytes`, up to the first that is not one.
fn elements(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, value, rest) = element(bytes)?;
        bytes = rest;
        Some((tag, value))
    })
}

/// The first element: its tag, its value, and what stands behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let digits;
        (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(digits, _)| digits.len() <= 4)?;
        length = digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit));
    }
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternative_names_of_a_certificate_are_all_read() {
        let names = ["agent.example", "10.1.2.3", "::1"].map(str::to_owned);
        let mut params = rcgen::CertificateParams::new(names.to_vec()).unwrap();
        params.subject_alt_names.push(rcgen::SanType::Rfc822Name("ann@example".try_into().unwrap()));
        params.subject_alt_names.push(rcgen::SanType::URI("spiffe://a/b".try_into().unwrap()));
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let found = alternative_names(certificate.der()).unwrap();
        assert_eq!(found, ["agent.example", "10.1.2.3", "::1", "ann@example", "spiffe://a/b"]);
    }

    #[test]
    fn alternative_names_of_damaged_bytes_are_none_and_no_panic() {
        let params = rcgen::CertificateParams::new(vec!["agent.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let whole = certificate.der();
        for end in 0..whole.len() {
            assert_eq!(alternative_names(&whole[..end]), None);
        }
        for at in 0..whole.len() {
            let mut damaged = whole.to_vec();
            damaged[at] ^= 0xff;
            let _ = alternative_names(&damaged);
        }
    }
}
