# Ranks by a formula, and the report on them: a pseudo-random number per case, shifted by the skill of the method.

function luck(x) { x = sin(x) * 43758.5453; return x - int(x) + (x < 0) }

function add(group, rank,  i) {
  n[group]++
  for (i = 1; i <= 3; i++) if (rank <= k[i]) { hr[group, i]++; ndcg[group, i] += log(2) / log(rank + 1) }
  mrr[group] += 1 / rank
}

function number(x, half) { return half ? sprintf("[%.6f,%.6f]", x - half, x + half) : sprintf("%.6f", x) }

function values(group, has_interval,  i, text, half) {
  half = has_interval / sqrt(n[group])
  for (i = 1; i <= 3; i++) {
    text = text "\"HR@" k[i] "\":" number(hr[group, i] / n[group], half) ","
    text = text "\"NDCG@" k[i] "\":" number(ndcg[group, i] / n[group], half) ","
  }
  return "\"" group "\":{" text "\"MRR\":" number(mrr[group] / n[group], half) "}"
}

function groups(has_interval) { return values("purchase", has_interval) "," values("click", has_interval) "," values("all", has_interval) }

BEGIN {
  k[1] = 5; k[2] = 10; k[3] = 20
  skill = encoder == "" ? 0.1 : 0.5
  if (method == "sqn") skill = 0.53
  if (method == "sac") skill = 0.52
  if (method ~ /^prl/) skill = 0.58 - 0.006 * (mu - 1.5) ^ 2 - 0.03 * eps
  if (method ~ /^prl./) skill -= 0.04
  if (encoder == "caser") skill -= 0.04
  if (encoder == "nextitnet") skill += 0.015
  if (encoder == "sasrec") skill += 0.03
  if (step != "") skill *= 1 - 0.5 * exp(-step / 120)
  if (cases != "") print "session,kind,rank" > cases
  for (session = 0; session < 300; session++) for (i = 0; i <= session % 5; i++) {
    kind = (session * 7 + i) % 9 == 0 ? "purchase" : "click"
    u = luck(session * 12.9898 + i * 78.233) + 0.05 * (luck(seed * 3.7 + session + i * 0.1 + length(method)) - 0.5)
    if (u < 0) u = 0
    bar = skill * (kind == "purchase" ? 1 : 0.7)
    rank = u < bar ? 1 + int(20 * (u / bar) ^ 2.5) : 21 + int(900 * (u - bar))
    if (cases != "") print session "," kind "," rank > cases
    add(kind, rank)
    add("all", rank)
    if (rank == 1) reward += kind == "purchase" ? 1 : 0.2
  }
  printf "{\"split\":\"%s\",\"dataset\":\"fake\",\"mu\":%s,\"eps\":%s,", part, mu, eps
  printf "\"rewards\":{\"click\":0.2,\"purchase\":1.0},\"interval_seed\":0,\"tie_rule\":\"pessimistic\","
  printf "\"events\":{\"click\":%d,\"purchase\":%d},%s,", n["click"], n["purchase"], groups(0)
  printf "\"intervals\":{%s},\"reward@1\":%.1f,\"coverage@20\":0.5,\"mean_popularity@20\":9.5}\n", groups(1), reward
}
