//! The trusted certificate authorities.

use std::{fmt, fs};

use redis::{Client, TlsCertificates, cluster::ClusterClientBuilder};
use rustls::{
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::super::RedisBuilder;
use crate::{
    backend::url::{options::UrlOptions, value::PATH},
    error::Error,
};

impl RedisBuilder {
    /// Trusts certificates that were signed by one of these authorities (PEM, one or several) instead of by a public one, for a `rediss`
    /// server with a private certificate. Default: the public authorities in Mozilla's list.
    ///
    /// If the server requires a client certificate, create the connection with the `redis` crate (`Client::build_with_tls`) and pass it
    /// to [`from_connection`](Self::from_connection), to which this setting does not apply.
    ///
    /// rustls uses the process's default crypto provider. If none is installed, connecting to a `rediss` URL installs *ring*.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls_roots = TlsRoots(Some(pem.into()));
        self
    }
}

/// The trusted authorities in PEM; `None` for the public ones.
#[derive(Clone, Default)]
pub(crate) struct TlsRoots(Option<Vec<u8>>);

impl TlsRoots {
    /// Takes the path of a PEM file from a URL.
    pub(crate) fn read_url(&mut self, url: &mut UrlOptions) -> Result<(), Error> {
        if let Some(path) = url.take("root_certificates", PATH)? {
            let pem = fs::read(path).map_err(|error| {
                Error::invalid_input("the file of the option `root_certificates` cannot be read").with_source(error)
            })?;
            self.0 = Some(pem);
        }
        Ok(())
    }

    /// Installs a crypto provider if the URL needs one, and checks that the authorities are valid and used.
    pub(crate) fn prepare(&self, url: &str) -> Result<(), Error> {
        let uses_tls = url.starts_with("rediss");
        if uses_tls && CryptoProvider::get_default().is_none() {
            // Without an installed provider rustls may panic. An error means that another thread has installed one.
            let _ = ring::default_provider().install_default();
        }
        let Some(pem) = &self.0 else { return Ok(()) };
        if !uses_tls {
            return Err(Error::invalid_input("`root_certificates` are for TLS: connect to a `rediss` URL"));
        }
        match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
            Ok(certificates) if certificates.is_empty() => Err(invalid_certificates()),
            Ok(_) => Ok(()),
            Err(error) => Err(invalid_certificates().with_source(error)),
        }
    }

    pub(crate) fn single(&self, client: Client) -> Result<Client, Error> {
        match self.certificates() {
            Some(certificates) => Client::build_with_tls(client.get_connection_info().clone(), certificates)
                .map_err(|error| invalid_certificates().with_source(error)),
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

impl fmt::Debug for TlsRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "own" } else { "public" })
    }
}

fn invalid_certificates() -> Error {
    Error::invalid_input(
        "`root_certificates` has no valid certificate: pass PEM, which begins with `-----BEGIN CERTIFICATE-----`",
    )
}
