// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Serves the certified oidc-provider over TLS on a free loopback port. It checks
// as strictly as by default, except that it may fetch from loopback. Clients
// register themselves (RFC 7591).
//
//   node server.mjs options.json
//
// The options:
//   - certificate and key: of the server, in PEM.
//   - clientAuthority: the CA of clients' certificates, in PEM.
//   - registrationToken: the token that allows a registration.
//
// Each line of standard output is a JSON object about one event: "ready",
// "issued", "refused" or "failed". "refused" includes the reason that the client
// is not told.

import { randomBytes, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';

import { decodeProtectedHeader } from 'jose';
import Provider, { errors } from 'oidc-provider';

const options = JSON.parse(readFileSync(process.argv[2]));
const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

// The resource servers that a client can request a token for (RFC 8707).
const resources = {
  'https://ledger.example/api': { scope: 'read write', accessTokenTTL: 1800 },
  'https://stock.example/api': { scope: 'read', accessTokenTTL: 900, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } },
};

const signingAlgorithms = [
  'HS256', 'HS384', 'HS512', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA',
];

const privateJWK = (type, parameters) => generateKeyPairSync(type, parameters).privateKey.export({ format: 'jwk' });

// Node lists a subject's attributes in the certificate's order, one per line.
// RFC 4514 requires the reverse order.
const distinguishedName = (certificate) => certificate.subject.split('\n').reverse().join(',');

const configuration = {
  clientAuthMethods: [
    'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt',
    'tls_client_auth', 'self_signed_tls_client_auth', 'none',
  ],
  enabledJWA: { clientAuthSigningAlgValues: signingAlgorithms },
  scopes: ['openid', 'offline_access', 'read', 'write'],
  jwks: { keys: [privateJWK('rsa', { modulusLength: 2048 })] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  // By default the provider refuses to fetch from loopback, but Vault is there. It
  // also waits for 2.5 s at most, which a busy machine may not keep to.
  fetch: (url, { dispatcher, signal, ...init }) => fetch(url, init),
  // Checks RFC 10070 for clients with rfc10070 set: the audience must be just the
  // issuer, and the assertion must have the right type.
  extraClientMetadata: { properties: ['rfc10070'] },
  assertJwtClientAuthClaimsAndHeader(ctx, claims, header, client) {
    if (!client.rfc10070) return;
    if (claims.aud !== ctx.oidc.issuer) throw new errors.InvalidClientAuth('aud must be the issuer, and nothing else');
    if (header.typ !== 'client-authentication+jwt') throw new errors.InvalidClientAuth('typ must be client-authentication+jwt');
  },
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    registration: {
      enabled: true,
      initialAccessToken: options.registrationToken,
      // These contain characters that RFC 6749 appendix A allows and that clients
      // must encode.
      idFactory: () => `svc:${randomBytes(8).toString('hex')}/%7E+x`,
      secretFactory: () => `p a+s%s:w&o=r?d/${randomBytes(48).toString('base64')}`,
    },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(ctx, indicator) {
        if (indicator.startsWith('http://127.0.0.1:')) return { scope: 'read', accessTokenTTL: 600 }; // a resource server of a test
        if (!resources[indicator]) throw new errors.InvalidTarget('no such resource');
        return resources[indicator];
      },
    },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      tlsClientAuth: true,
      selfSignedTlsClientAuth: true,
      getCertificate: (ctx) => ctx.socket.getPeerX509Certificate(),
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) => property === 'tls_client_auth_subject_dn'
        && distinguishedName(ctx.socket.getPeerX509Certificate()) === expected,
    },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
  },
};

const server = createServer({
  cert: options.certificate,
  key: options.key,
  ca: options.clientAuthority,
  requestCert: true,
  rejectUnauthorized: false, // the provider decides, based on the client's registration
});
// A certificate is checked only when a connection begins. So each connection ends
// with its first answer, which says so: a client that sends a request while the
// server closes an idle connection gets no answer.
server.maxRequestsPerSocket = 1;

server.listen(0, '127.0.0.1', () => {
  const issuer = `https://127.0.0.1:${server.address().port}`;
  // Clients with a certificate must use another host (RFC 8705 section 5).
  const elsewhere = issuer.replace('127.0.0.1', 'localhost');
  const aliases = { token_endpoint: `${elsewhere}/token`, revocation_endpoint: `${elsewhere}/token/revocation` };
  const provider = new Provider(issuer, { ...configuration, discovery: { mtls_endpoint_aliases: aliases } });
  const client = (ctx) => ctx.oidc?.client?.clientId;
  const kid = ({ oidc: { params } }) => params.client_assertion && decodeProtectedHeader(params.client_assertion).kid;
  provider.on('grant.success', (ctx) => say({ event: 'issued', client: client(ctx), kid: kid(ctx) }));
  for (const event of ['grant.error', 'revocation.error', 'userinfo.error', 'registration_create.error']) {
    provider.on(event, (ctx, { error, error_description, error_detail, cause }) => say({
      event: 'refused', client: client(ctx), error, description: error_description, detail: error_detail, cause: cause?.message,
    }));
  }
  provider.on('server_error', (ctx, error) => say({ event: 'failed', detail: error.stack }));
  server.on('request', provider.callback());
  say({ event: 'ready', issuer });
});

process.on('SIGTERM', () => process.exit(0));
