import type { StreamRequest } from "../../domain/stream/requests.ts";

/** Hands out the URLs of the streaming server. */
export interface StreamUrls {
  /** A URL that is good once, for a minute. Rejects `resource-exhausted` when too many are outstanding. */
  issue(request: StreamRequest): string;
}
