//! The replacement for TLS without its feature.

use redis::{Client, cluster::ClusterClientBuilder};

use crate::{backend::url::options::UrlOptions, error::Error};

#[derive(Debug, Clone, Default)]
pub(crate) struct TlsRoots(());

impl TlsRoots {
    pub(crate) fn read_url(&mut self, _url: &mut UrlOptions) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn prepare(&self, _url: &str) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn single(&self, client: Client) -> Result<Client, Error> {
        Ok(client)
    }

    pub(crate) fn cluster(&self, builder: ClusterClientBuilder) -> ClusterClientBuilder {
        builder
    }
}
