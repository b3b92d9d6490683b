//! Request fields in which gateways and clients name the user of a request.

use super::field::name_filter::NameFilter;

/// Fields that identify the user of a request, or prove who it is: like `Authorization`, they may select what the handler responds.
///
/// Sources: the documentation of oauth2-proxy, Authelia, authentik, Pomerium, Vouch, Tailscale, Cloudflare Access, Google IAP and API
/// Gateway, AWS load balancers, Azure App Service, Envoy, nginx, Traefik, Apache, Kong, Grafana and Hasura, and RFC 9440.
const NAMES: [&str; 75] = [
    // Keys and tokens that clients send themselves.
    "api-key",
    "x-api-key",
    "x-api-token",
    "x-access-token",
    "x-auth-token",
    "x-id-token",
    "x-session-token",
    "x-user-token",
    // Login proxies.
    "remote-email",
    "remote-groups",
    "remote-name",
    "remote-user",
    "x-remote-user",
    "x-auth-request-access-token",
    "x-auth-request-email",
    "x-auth-request-groups",
    "x-auth-request-preferred-username",
    "x-auth-request-user",
    "x-authenticated-user",
    "x-authenticated-userid",
    "x-authentik-email",
    "x-authentik-groups",
    "x-authentik-jwt",
    "x-authentik-name",
    "x-authentik-uid",
    "x-authentik-username",
    "x-forwarded-access-token",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-user",
    "x-pomerium-jwt-assertion",
    "x-userinfo",
    "x-user",
    "x-user-email",
    "x-user-id",
    "x-vouch-idp-accesstoken",
    "x-vouch-idp-idtoken",
    "x-vouch-user",
    "x-webauth-user",
    // Networks and clouds.
    "cf-access-authenticated-user-email",
    "cf-access-client-id",
    "cf-access-client-secret",
    "cf-access-jwt-assertion",
    "cf-access-token",
    "tailscale-user-login",
    "tailscale-user-name",
    "x-amzn-oidc-accesstoken",
    "x-amzn-oidc-data",
    "x-amzn-oidc-identity",
    "x-apigateway-api-userinfo",
    "x-consumer-custom-id",
    "x-consumer-id",
    "x-consumer-username",
    "x-credential-identifier",
    "x-endpoint-api-userinfo",
    "x-goog-authenticated-user-email",
    "x-goog-authenticated-user-id",
    "x-goog-iap-jwt-assertion",
    "x-hasura-user-id",
    "x-ms-client-principal",
    "x-ms-client-principal-id",
    "x-ms-client-principal-name",
    "x-ms-token-aad-access-token",
    "x-ms-token-aad-id-token",
    // Client certificates.
    "client-cert",
    "ssl-client-cert",
    "ssl-client-s-dn",
    "ssl-client-subject-dn",
    "x-amzn-mtls-clientcert",
    "x-arr-clientcert",
    "x-client-cert",
    "x-forwarded-client-cert",
    "x-forwarded-tls-client-cert",
    "x-ssl-client-cert",
];

pub(crate) static IDENTITY_FILTER: NameFilter = NameFilter::of(&NAMES);

/// Returns whether the field names the user of a request.
pub(crate) fn is_identity(name: &str) -> bool {
    IDENTITY_FILTER.passes(name) && NAMES.contains(&name)
}

/// Returns the names of all such fields.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter()
}
