/** A resize message is a few dozen bytes. What grows beyond this is none. */
const maxPending = 4096;

/**
 * Reads terminal sizes from the resize stream: JSON objects {"Width":80,"Height":24} one after the other, cut anywhere.
 * What can't be understood is skipped, because a wrong size is no reason to end a session.
 */
export function makeSizeReader(listener: (columns: number, rows: number) => void): (bytes: Buffer) => void {
  let pending = "";
  return (bytes) => {
    pending += bytes.toString("latin1");
    for (let end = pending.indexOf("}"); end >= 0; end = pending.indexOf("}")) {
      const text = pending.slice(0, end + 1);
      pending = pending.slice(end + 1);
      const columns = /"Width"\s*:\s*(\d{1,5})\b/i.exec(text)?.[1];
      const rows = /"Height"\s*:\s*(\d{1,5})\b/i.exec(text)?.[1];
      if (columns !== undefined && rows !== undefined) {
        listener(Math.min(Number(columns), 0xffff), Math.min(Number(rows), 0xffff));
      }
    }
    if (pending.length > maxPending) {
      pending = "";
    }
  };
}
