"use strict";

const line = document.getElementById("status");

async function look() {
  try {
    const answer = await fetch("healthcheck", { cache: "no-store" });
    line.textContent = (await answer.json()).status;
  } catch (error) {
    line.textContent = `The gateway does not answer: ${error.message}`;
  }
}

look();
