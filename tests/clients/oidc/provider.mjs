// A real provider of OpenID Connect (the certified npm package `oidc-provider`) for test_oidc.py: who
// logs in is whoever says so; groups and keys are changed by POST /test/….
//
//     node provider.mjs MODULES PORT REDIRECT_URI
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const [modules, port, redirect] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(createRequire(`${modules}/`).resolve('oidc-provider')));
const issuer = `http://127.0.0.1:${port}`;
const groups = new Map(); // by account
let generation = 0;

const key = (type, options, alg) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }),
  alg, use: 'sig', kid: `${alg}-${generation}`,
});

const client = (id, alg) => ({
  client_id: id,
  client_secret: 'a secret of the test, longer than it has to be',
  grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
  response_types: ['code'],
  redirect_uris: [redirect],
  token_endpoint_auth_method: 'client_secret_basic',
  id_token_signed_response_alg: alg,
});

const cookies = [randomBytes(16).toString('hex')];

function build() {
  generation += 1;
  return new Provider(issuer, {
    clients: [client('turnout', 'RS256'), client('turnout-es', 'ES256')],
    jwks: { keys: [key('rsa', { modulusLength: 2048 }, 'RS256'), key('ec', { namedCurve: 'P-256' }, 'ES256')] },
    cookies: { keys: cookies },
    scopes: ['openid', 'profile', 'groups'],
    claims: { openid: ['sub'], profile: ['name', 'preferred_username'], groups: ['groups'] },
    features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
    pkce: { required: () => true, methods: ['S256'] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: async () => ({
        sub: id, preferred_username: id.split('#')[0], name: `${id} Example`, groups: groups.get(id) ?? [],
      }),
    }),
  });
}

let answer = build().callback();
createServer((request, response) => {
  const url = new URL(request.url, issuer);
  if (!url.pathname.startsWith('/test/')) return answer(request, response);
  if (url.pathname === '/test/rotate') answer = build().callback();
  if (url.pathname === '/test/groups') groups.set(url.searchParams.get('user'), url.searchParams.getAll('group'));
  response.end('done');
}).listen(Number(port), '127.0.0.1', () => console.log('ready'));
