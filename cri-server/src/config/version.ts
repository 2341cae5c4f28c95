/** The version of this program: package.json's, which a test compares. */
export const berthVersion = "0.1.0";
