// Recommends through the types that openapi-typescript generates (./schema): node client.js URL KEY.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

type Answer = components["schemas"]["RecommendResponse"];

async function main(): Promise<void> {
  const [baseUrl, key] = process.argv.slice(2);
  const client = createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${key}` } });

  const recommended = await client.POST("/v1/recommend", { body: { items: ["item-1", "item-2"], k: 5, mu: 2 } });
  if (!recommended.data) throw new Error(JSON.stringify(recommended.error));
  const answer: Answer = recommended.data;

  const params = { path: { id: "typescript" } };
  const added = await client.POST("/v1/sessions/{id}/events", {
    params,
    body: { events: [{ item: "item-4" }, { item: "item-5", type: "click" }] },
  });
  if (added.data?.events !== 2) throw new Error(JSON.stringify(added.error));
  const stored = await client.POST("/v1/sessions/{id}/recommend", { params, body: { k: 3 } });
  if (!stored.data) throw new Error(JSON.stringify(stored.error));

  const refused = await client.POST("/v1/recommend", { body: { items: [], mu: 1, quantile: 0.5 } });
  if (refused.error?.status !== 422 || !refused.error.detail.includes("one way")) {
    throw new Error(JSON.stringify(refused));
  }
  console.log(JSON.stringify({ answer, stored: stored.data }));
}

main();
