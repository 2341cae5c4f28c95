/** Whether tests of quantity take their whole quantity: `hack/test --all` does, one who waits for the answer need not. */
export const isLongRun = process.env.BERTH_TEST_LONG !== undefined;
