//! Whom to trust by TLS.

use redis::{Client, TlsCertificates, cluster::ClusterClientBuilder};
use rustls::{
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::super::RedisBuilder;
use crate::error::Error;

impl RedisBuilder {
    /// Trusts certificates that one of these authorities has signed (PEM, one or several), in place of the public ones; for a
    /// `rediss` server with a certificate of your own. Default: the public authorities that browsers trust, as Mozilla lists them.
    ///
    /// Where the server asks for a certificate of the client too, make the connection with the `redis` crate
    /// (`Client::build_with_tls`) and hand it over by [`from_connection`](Self::from_connection), to which this does not apply.
    ///
    /// TLS is done by rustls with the provider of cryptography that is the process's default; where there is none yet, connecting to
    /// a `rediss` URL makes it *ring*.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.trust = TlsRoots(Some(pem.into()));
        self
    }
}

/// The authorities to trust, if not the public ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsRoots(Option<Vec<u8>>);

impl TlsRoots {
    /// Makes ready for a URL, and checks that authorities are named where they matter.
    pub(crate) fn prepare(&self, url: &str) -> Result<(), Error> {
        let by_tls = url.starts_with("rediss");
        if by_tls && CryptoProvider::get_default().is_none() {
            // Rustls panics where it finds none, or two that it could take. Whoever was faster has the say.
            let _ = ring::default_provider().install_default();
        }
        let Some(pem) = &self.0 else { return Ok(()) };
        if !by_tls {
            return Err(Error::invalid_input("`root_certificates` are for TLS: connect to a `rediss` URL"));
        }
        match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
            Ok(certificates) if certificates.is_empty() => Err(unreadable()),
            Ok(_) => Ok(()),
            Err(error) => Err(unreadable().with_source(error)),
        }
    }

    pub(crate) fn single(&self, client: Client) -> Result<Client, Error> {
        match self.certificates() {
            Some(certificates) => Client::build_with_tls(client.get_connection_info().clone(), certificates)
                .map_err(|error| unreadable().with_source(error)),
            None => Ok(client),
        }
    }

    pub(crate) fn cluster(&self, builder: ClusterClientBuilder) -> ClusterClientBuilder {
        match self.certificates() {
            Some(certificates) => builder.certs(certificates),
            None => builder,
        }
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        Some(TlsCertificates { client_tls: None, root_cert: Some(self.0.clone()?) })
    }
}

fn unreadable() -> Error {
    Error::invalid_input("`root_certificates` holds no certificate that can be read: give it PEM, `-----BEGIN CERTIFICATE-----`")
}
