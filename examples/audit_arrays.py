"""Two scikit-learn classifiers on handwritten digits, side by side: arrays in, one page out, in a few seconds.

Logistic regression and a small random forest see the same 898 images and predict the same 899 others. The forest is
the more modest of the two by far: its probabilities are shares of trees that agree, and trees of different samples
seldom all agree.
"""

import sys
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

import trueline


def main():
    page = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/audit-digits.html")
    digits = load_digits()
    train, test = train_test_split(range(len(digits.target)), test_size=0.5, random_state=0)
    inputs, labels = digits.data / 16, digits.target
    classifiers = {
        "Logistic regression": LogisticRegression(C=10.0, max_iter=1000),
        "Random forest": RandomForestClassifier(50, random_state=0),
    }
    probs = {
        name: model.fit(inputs[train], labels[train]).predict_proba(inputs[test]) for name, model in classifiers.items()
    }

    audit = trueline.audit(
        labels[test], probs=probs, images=digits.images[test] / 16, class_names=digits.target_names, title="Digits"
    )
    print(audit)
    page.parent.mkdir(parents=True, exist_ok=True)
    print(f"\npage: {audit.write_html(page)}")


if __name__ == "__main__":
    main()
